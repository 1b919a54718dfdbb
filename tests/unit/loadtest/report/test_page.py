from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from nemotron_loadtest.capacity import Demand, plan_capacity
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.report import Report, make_report, report_html
from tests.unit.loadtest.metrics.making import at_rate
from tests.unit.loadtest.report.made_up import FACTS, INTERACTIVE, WINDOW, requests, server_samples, sweep
from tests.unit.loadtest.report.page_check import Page, checked

CUT_OFF = msgspec.structs.replace(
    FACTS, cut_off="The server was given up: every request fails.", not_sent=12, busy=True
)

RUNS: dict[str, Callable[[], Report]] = {
    "good": lambda: make_report(requests(), WINDOW, FACTS, slo=INTERACTIVE, server=server_samples()),
    "no SLO": lambda: make_report(requests(), WINDOW, FACTS),
    "no thinking": lambda: make_report(requests(thinking_share=0), WINDOW, FACTS, slo=INTERACTIVE),
    "no request": lambda: make_report([], WINDOW, FACTS, slo=INTERACTIVE),
    "only errors": lambda: make_report(
        requests(errors=1), WINDOW, FACTS, slo=INTERACTIVE, server=server_samples(gone_from_s=0)
    ),
    "three requests": lambda: make_report(requests()[60:63], WINDOW, FACTS, slo=INTERACTIVE),
    "cut off": lambda: make_report(
        requests(until_s=20), Window(5, 20), CUT_OFF, slo=INTERACTIVE, server=server_samples(24, gone_from_s=18)
    ),
    "cut off in the warm-up": lambda: make_report(requests(until_s=2), Window(5, 2), CUT_OFF, slo=INTERACTIVE),
    "not streaming": lambda: make_report(
        [msgspec.structs.replace(one, user="http_generate", arrivals=one.arrivals[-1:]) for one in requests()],
        WINDOW,
        FACTS,
        slo=INTERACTIVE,
    ),
    "all alike": lambda: make_report(at_rate(10, 65), WINDOW, FACTS, slo=INTERACTIVE),
}


@cache
def page(run: str) -> Page:
    return checked(report_html(RUNS[run]()))


@pytest.mark.parametrize("run", RUNS)
def test_every_run_has_a_sound_page(run: str) -> None:
    assert page(run).tags["svg"]


def test_sections_stand_in_the_order_in_which_they_are_read() -> None:
    found = sweep()
    capacity = plan_capacity(found.replica(), Demand(peak_per_s=60))
    report = make_report(
        requests(), WINDOW, FACTS, slo=INTERACTIVE, server=server_samples(), sweep=found, capacity=capacity
    )
    page = checked(report_html(report))

    assert page.sections == [
        *("sweep", "replicas", "key", "distributions", "time", "failures", "conduct", "every-metric", "setting")
    ]
    run = page.words.index("One of the runs")
    assert page.words.index("Capacity of the server") < run < page.words.index("Key figures")
    assert "of the SLO" in page.words[run:]


def test_thinking_on_and_off_stand_apart() -> None:
    words = page("good").words

    assert "Thinking on: 271 requests" in words
    assert "Thinking off: 387 requests" in words


def test_a_mode_that_nobody_asked_for_is_not_shown() -> None:
    assert "Thinking on:" not in page("no thinking").words


def test_clauses_stand_with_what_was_measured() -> None:
    words = page("good").words

    assert "1 of 4 clauses of the SLO “interactive” does not hold." in words
    assert "Failed or unfinished ≤ 1.00%" in words
    assert "10 ServerUnavailableError, 4 RequestTimeoutError" in words


def test_only_errors_says_so() -> None:
    words = page("only errors").words

    assert "No request was answered whole." in words
    assert "The server's metrics could not be read 70 times" in words
    assert "The metrics of grpc://127.0.0.1:8001 were never found" in words


def test_a_run_cut_off_says_why() -> None:
    words = page("cut off").words

    assert "CUT OFF" in words
    assert "The server was given up: every request fails." in words
    assert "12 arrivals were due and not sent" in words


def test_server_metrics_share_the_time_axis() -> None:
    words = page("good").words

    for heading in (
        "In flight",
        "Server CPU, cores",
        "GPU busy",
        "KV cache",
        "Triton's queues, ms",
        "warm-up",
        "drain",
    ):
        assert heading in words


def test_everything_from_elsewhere_is_escaped() -> None:
    evil = "<script>alert(1)</script>&\"'"
    facts = msgspec.structs.replace(
        FACTS,
        title=evil,
        description=evil,
        cut_off=evil,
        scenario={evil: {evil: evil}},
        environment={evil: evil},
        started_at=evil,
    )
    samples = [msgspec.structs.replace(one, outcome="error", error_type=evil, arrivals=()) for one in requests()]
    found = sweep()
    found = msgspec.structs.replace(
        found,
        slo=evil,
        capacity=msgspec.structs.replace(found.capacity, stable=False, reasons=(evil,)),
    )
    slo = msgspec.structs.replace(INTERACTIVE, name=evil)
    replica = msgspec.structs.replace(found.replica(), failures=(evil,))
    capacity = plan_capacity(replica, Demand(peak_per_s=1))
    page = checked(report_html(make_report(samples, WINDOW, facts, slo=slo, sweep=found, capacity=capacity)))

    assert "<script" not in page.text
    assert page.words.count("<script>alert(1)</script>") >= 10


def test_a_long_run_stays_small() -> None:
    long = at_rate(30, 1000)
    samples = [msgspec.structs.replace(one, thinking=number % 3 == 0) for number, one in enumerate(long)]
    report = make_report(samples, Window(10, 1000), FACTS, slo=INTERACTIVE, server=server_samples(1000))

    assert len(report_html(report)) < 300_000
    assert len(msgspec.json.encode(report)) < 300_000
