"""Steady, not steady, and why."""

from __future__ import annotations

from nemotron_loadtest.analysis import Window, steadiness
from nemotron_loadtest.metrics import Traffic
from tests.unit.loadtest.analysis.queues import PaperServer, open_loop
from tests.unit.loadtest.metrics.making import at_rate, made


def test_an_even_load_is_steady() -> None:
    found = steadiness(Traffic(at_rate(10, 40), Window(10, 40)))
    assert found.steady
    assert found.title == "STEADY"
    assert [part.start_s for part in found.parts] == [10, 20, 30]


def test_a_queue_that_grows_is_not() -> None:
    samples = open_loop(PaperServer(1, 0.1), rate_per_s=13, seconds=120)
    found = steadiness(Traffic(samples, Window(10, 120)))
    assert found.title == "NOT STEADY"
    assert "p90 of the end-to-end latency" in found.reason


def test_throughput_that_falls_is_said() -> None:
    samples = [*at_rate(20, 20), *(made((20.0 + n, 1), (20.5 + n, 10), intended_s=20.0 + n) for n in range(10))]
    found = steadiness(Traffic(samples, Window(0, 30)))
    assert not found.steady
    assert "output tokens/s moves by" in found.reason


def test_few_requests_cannot_tell() -> None:
    found = steadiness(Traffic(at_rate(0.5, 30), Window(0, 30)))
    assert not found.steady
    assert found.reason == "too few whole answers to tell: 5 in a third, 10 needed; measure longer"


def test_where_it_may_be_chance_it_is_said() -> None:
    samples = open_loop(PaperServer(50, 0.1), rate_per_s=2, seconds=60, seed=1)
    found = steadiness(Traffic(samples, Window(0, 60)))
    assert not found.steady
    assert "may be chance" in found.reason
