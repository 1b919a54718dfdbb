from __future__ import annotations

from functools import cache

import msgspec
import pytest

from nemotron_loadtest.analysis import Clause, Slo
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.report import Sweep, make_report, report_html
from tests.unit.loadtest.report.made_up import FACTS, INTERACTIVE, WINDOW, sweep
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


def test_a_sweep_that_found_no_limit_says_how_to_find_one() -> None:
    found = sweep()
    endless = msgspec.structs.replace(found, capacity=msgspec.structs.replace(found.capacity, fails_at_per_s=None))

    with pytest.raises(LoadTestError, match=r"up to 17/s, so what a replica takes is not known\. Sweep with a higher"):
        endless.replica()


def test_the_page_shows_capacity_and_runs() -> None:
    report = make_report([], WINDOW, FACTS, slo=INTERACTIVE, sweep=sweep())
    words = checked(report_html(report)).words

    for part in (
        "17.0 requests/s",
        "18.0 requests/s did not",
        "capacity 17.0",
        "not met",
        "Throughput against latency",
    ):
        assert part in words


@cache
def sweep_section(found: Sweep, slo: Slo = INTERACTIVE) -> str:
    page = report_html(make_report([], WINDOW, FACTS, slo=slo, sweep=found))
    checked(page)
    return page.split('<section id="sweep">')[1].split("</section>")[0]


def test_charts_and_table_show_the_percentiles_that_the_slo_judges() -> None:
    slo = Slo(
        name="mine",
        clauses=(
            Clause(metric="ttft_ms", percentile=90, limit=400),
            Clause(metric="e2e_ms", percentile=95, limit=9000, thinking="on"),
        ),
    )
    section = sweep_section(sweep(slo), slo)
    for title in ("Time to first token p90", "End-to-end latency p95, thinking on"):
        assert f"<h3>{title}</h3>" in section
        assert f'<th scope="col">{title}, ms</th>' in section
    assert "SLO p90 ≤ 400" in section and "SLO p95 ≤ 9,000" in section
    assert "Time per output token" not in section


def test_every_chart_marks_a_run_by_the_verdict_on_it() -> None:
    found = sweep()
    section = sweep_section(found)
    charts = section.count("<svg")
    met = sum(point.passed for point in found.points)
    assert 0 < met < len(found.points)
    assert section.count('class="met"') == charts * met
    assert section.count('class="missed"') == charts * (len(found.points) - met)


def test_a_single_rate_that_failed_has_no_dot() -> None:
    found = sweep()
    failed = next(point for point in found.points if not point.passed)
    section = sweep_section(msgspec.structs.replace(found, points=(failed,)))
    assert 'class="met"' not in section
    assert "\u2717" in section


def test_a_percentile_that_a_run_is_too_short_for_is_said() -> None:
    found = sweep()
    short = tuple(
        msgspec.structs.replace(
            point, passed=False, clauses=tuple(msgspec.structs.replace(one, measured=None) for one in point.clauses)
        )
        for point in found.points
    )
    section = sweep_section(msgspec.structs.replace(found, points=short))
    assert "No run has the 100 values that this percentile takes." in section


def test_a_cross_that_keeps_the_limit_of_its_chart_is_explained() -> None:
    section = sweep_section(sweep())
    # Late requests break the limit of the time to first token alone.
    assert section.count("A cross that keeps the limit here failed another clause") == 1


def test_a_sweep_that_found_nothing_is_shown() -> None:
    found = sweep()
    capacity = msgspec.structs.replace(
        found.capacity, rate_per_s=None, fails_at_per_s=4.0, stable=False, reasons=("the lowest rate, 4/s, fails",)
    )
    nothing = msgspec.structs.replace(found, capacity=capacity, points=found.points[3:4])
    words = checked(report_html(make_report([], WINDOW, FACTS, slo=INTERACTIVE, sweep=nothing))).words

    for part in ("No rate met the SLO", "NOT STABLE", "the lowest rate, 4/s, fails"):
        assert part in words
