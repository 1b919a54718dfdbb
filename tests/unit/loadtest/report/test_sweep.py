from __future__ import annotations

import msgspec
import pytest

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.report import make_report, report_html
from tests.unit.loadtest.report.made_up import FACTS, INTERACTIVE, WINDOW, requests, sweep
from tests.unit.loadtest.report.page_check import checked


def test_a_replica_is_measured_at_the_capacity() -> None:
    found = sweep()
    replica = found.replica()

    assert replica.rate_per_s == found.capacity.rate_per_s == 17
    assert replica.thinking_share == pytest.approx(0.4, abs=0.05)
    assert replica.output_tokens_on is not None
    assert replica.output_tokens_off is not None
    assert replica.output_tokens_on > replica.output_tokens_off
    assert replica.failures
    assert "Time to first token p99" in replica.failures[0]


def test_without_a_capacity_there_is_no_replica() -> None:
    found = sweep()
    none = msgspec.structs.replace(found, capacity=msgspec.structs.replace(found.capacity, rate_per_s=None))

    with pytest.raises(LoadTestError, match="No rate of the sweep met the SLO interactive"):
        none.replica()


def test_the_page_shows_capacity_and_runs() -> None:
    report = make_report(requests(), WINDOW, FACTS, slo=INTERACTIVE, sweep=sweep())
    words = checked(report_html(report)).words

    for part in (
        "17.0 requests/s",
        "18.0 requests/s did not",
        "capacity 17.0",
        "not met",
        "Throughput against latency",
    ):
        assert part in words


def test_short_runs_show_the_percentile_that_they_have() -> None:
    found = sweep()
    short = tuple(
        msgspec.structs.replace(point, ttft_ms=msgspec.structs.replace(point.ttft_ms, p99=None, p95=None, p90=321.0))
        for point in found.points
    )
    report = make_report(requests(), WINDOW, FACTS, slo=INTERACTIVE, sweep=msgspec.structs.replace(found, points=short))
    words = checked(report_html(report)).words

    assert "p90 ms" in words
    assert "321" in words


def test_a_limit_of_the_time_per_token_is_drawn_beside_the_inter_token_latency() -> None:
    report = make_report(requests(), WINDOW, FACTS, slo=INTERACTIVE, sweep=sweep())
    assert "SLO TPOT p99" in checked(report_html(report)).words


def test_a_sweep_that_found_nothing_is_shown() -> None:
    found = sweep()
    capacity = msgspec.structs.replace(
        found.capacity, rate_per_s=None, fails_at_per_s=4.0, stable=False, reasons=("the lowest rate, 4/s, fails",)
    )
    nothing = msgspec.structs.replace(found, capacity=capacity, points=found.points[3:4])
    words = checked(report_html(make_report([], WINDOW, FACTS, slo=INTERACTIVE, sweep=nothing))).words

    for part in ("No rate met the SLO", "NOT STABLE", "the lowest rate, 4/s, fails"):
        assert part in words
