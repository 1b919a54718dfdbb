"""Over-saturation is found above a known capacity and not below it."""

from __future__ import annotations

import pytest

from nemotron_loadtest.analysis import Window, saturation
from nemotron_loadtest.analysis.student import t_quantile
from nemotron_loadtest.metrics import Traffic
from nemotron_loadtest.samples import Sample
from tests.unit.loadtest.analysis.queues import PaperServer, closed_loop, open_loop

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
