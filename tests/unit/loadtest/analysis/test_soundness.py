"""Steady, not steady, and why; over-saturation is found above a known capacity and not below it."""

from __future__ import annotations

import pytest

from nemotron_loadtest.analysis import saturation, steadiness
from nemotron_loadtest.analysis.percentiles import t_quantile
from nemotron_loadtest.metrics import Traffic, Window
from nemotron_loadtest.samples import Sample
from tests.unit.loadtest.analysis.queues import PaperServer, closed_loop, open_loop
from tests.unit.loadtest.metrics.making import at_rate, made

CAPACITY = 40.0  # Four places, 0.1 s each.
SEEDS = range(20)


def verdict(share: float, seed: int, seconds: float = 60) -> bool | None:
    samples = open_loop(PaperServer(4, 0.1), CAPACITY * share, seconds + 5, seed)
    return saturation(Traffic(samples, Window(5, seconds + 5))).saturated


@pytest.mark.parametrize("share", [1.1, 1.3, 2.0])
def test_found_above_capacity(share: float) -> None:
    assert [verdict(share, seed) for seed in SEEDS].count(True) == len(SEEDS)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_not_found_below(share: float) -> None:
    assert [verdict(share, seed) for seed in SEEDS].count(False) == len(SEEDS)


def test_the_reason_has_the_figures() -> None:
    samples = open_loop(PaperServer(4, 0.1), 60, 60)
    found = saturation(Traffic(samples, Window(0, 60)))
    assert found.in_flight is not None
    assert found.in_flight.slope_per_s == pytest.approx(20, rel=0.1)  # 60 come, 40 go.
    assert found.in_flight.low_per_s < found.in_flight.slope_per_s < found.in_flight.high_per_s
    assert found.latency_ms is not None
    assert found.latency_ms.slope_per_s == pytest.approx(500, rel=0.1)  # A second of arrivals takes 1.5 s.
    assert found.achieved_share == pytest.approx(2 / 3, rel=0.05)
    assert "ms a second" in found.reason


def test_a_closed_loop_cannot_ask_for_too_much() -> None:
    samples = closed_loop(PaperServer(4, 0.1), users=50, seconds=60)
    assert saturation(Traffic(samples, Window(5, 60))).saturated is False


def test_users_that_do_not_stream_are_judged_by_the_end() -> None:
    samples: list[Sample] = []
    for sample in open_loop(PaperServer(4, 0.1), 60, 60):
        fields = {name: getattr(sample, name) for name in sample.__struct_fields__}
        samples.append(Sample(**{**fields, "user": "http_generate"}))
    found = saturation(Traffic(samples, Window(0, 60)))
    assert found.saturated
    assert "end-to-end latency" in found.reason


def test_a_short_run_cannot_tell() -> None:
    assert verdict(2.0, seed=0, seconds=10) is None
    samples = open_loop(PaperServer(4, 0.1), 1, 40)
    found = saturation(Traffic(samples, Window(0, 40)))
    assert found.saturated is None
    assert "too short to tell" in found.reason


def test_many_requests_make_up_for_a_short_run() -> None:
    samples = open_loop(PaperServer(4, 0.01), 600, 10)
    assert saturation(Traffic(samples, Window(0, 10))).saturated


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.975, 4, 2.776), (0.975, 10, 2.228), (0.95, 8, 1.860), (0.995, 18, 2.878), (0.975, 1000, 1.962), (0.5, 5, 0)],
)
def test_quantiles_of_students_t(probability: float, freedom: int, expected: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=0.005, abs=1e-12)


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
