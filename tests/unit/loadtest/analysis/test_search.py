"""The search for the capacity, on paper."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from nemotron_loadtest.analysis import BUILT_IN, Capacity, Verdict, find_capacity, judge, summarise
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Window
from tests.unit.loadtest.analysis.queues import PaperServer, open_loop


def deciding(passes: Callable[[float], bool]) -> Callable[[float], Verdict]:
    return lambda rate: Verdict(slo="x", passed=passes(rate), clauses=())


def sought(run_at_rate: Callable[[float], Verdict | None], low: float, high: float, **changes: Any) -> Capacity:
    return find_capacity(run_at_rate, low, high, **{"tolerance": 0.03, "repeats": 3, "max_runs": 30, **changes})


@pytest.mark.parametrize("capacity", [1.0, 3.7, 50.0, 63.9])
def test_a_sharp_edge_is_found(capacity: float) -> None:
    found = sought(deciding(lambda rate: rate <= capacity), 1, 64, tolerance=0.02)
    assert found.stable
    assert found.reasons == ()
    assert found.rate_per_s is not None
    assert found.fails_at_per_s is not None
    assert found.rate_per_s <= capacity < found.fails_at_per_s <= 1.02 * found.rate_per_s


def test_both_ends_are_run_again() -> None:
    found = sought(deciding(lambda rate: rate <= 10), 1, 64, repeats=3)
    for end in (found.rate_per_s, found.fails_at_per_s):
        assert sum(trial.rate_per_s == end for trial in found.trials) == 2


def test_the_highest_rate_passes() -> None:
    found = sought(deciding(lambda _: True), 1, 20)
    assert (found.rate_per_s, found.fails_at_per_s, found.stable) == (20, None, True)
    assert found.reasons == ("the highest rate, 20/s, passes: the capacity is that or more",)


def test_the_lowest_rate_fails() -> None:
    found = sought(deciding(lambda _: False), 1, 20)
    assert (found.rate_per_s, found.fails_at_per_s) == (None, 1)
    assert "the lowest rate, 1/s, fails" in found.reasons[0]
    assert len(found.trials) == 2


def test_the_number_of_runs_is_bounded() -> None:
    found = sought(deciding(lambda rate: rate <= 10), 1, 1000, tolerance=1e-9, max_runs=12)
    assert len(found.trials) == 12
    assert not found.stable
    assert "stopped after 12 runs" in found.reasons[0]


def test_a_fluke_is_outvoted_and_told() -> None:
    """The first run at 40/s fails by accident."""
    seen: list[float] = []

    def passes(rate: float) -> bool:
        seen.append(rate)
        return rate <= 43 and not (rate == 40 and seen.count(40) == 1)

    found = sought(deciding(passes), 1, 64, tolerance=0.05)
    assert found.rate_per_s == pytest.approx(43, rel=0.05)
    assert found.reasons == ("runs at 40/s disagree: 2 passed, 1 failed",)
    assert not found.stable


def test_a_rate_above_that_passes_is_told() -> None:
    found = sought(deciding(lambda rate: rate <= 10 or 11.1 < rate < 11.24), 10, 100, tolerance=0.03)
    assert found.rate_per_s == 10
    assert not found.stable
    assert found.reasons == ("11.17/s passes although 10.16/s fails",)


def test_coins_end_and_are_seldom_taken_for_a_capacity() -> None:
    """A server whose verdict has nothing to do with the rate."""

    def search(seed: int) -> Capacity:
        rng = random.Random(seed)
        return sought(deciding(lambda _: rng.random() < 0.5), 1, 1000, repeats=5)

    results = [search(seed) for seed in range(50)]
    assert all(len(found.trials) <= 30 for found in results)
    assert sum(found.stable for found in results if found.rate_per_s is not None) <= 5


def test_one_run_a_rate_is_not_called_stable() -> None:
    found = sought(deciding(lambda rate: rate <= 10), 1, 64, repeats=1)
    assert found.rate_per_s == pytest.approx(10, rel=0.03)
    assert found.reasons == ("no rate was run twice",)


def test_a_run_that_was_cut_short_ends_the_search_with_what_is_known() -> None:
    found = sought(lambda rate: None if rate > 3 else deciding(lambda _: True)(rate), 1, 64)
    assert (found.rate_per_s, found.stable) == (2, False)
    assert found.reasons == ("stopped after 2 runs, before the search was at its end",)
    assert sought(lambda _: None, 1, 64).rate_per_s is None


@pytest.mark.parametrize("rates", [(0, 10), (10, 5)])
def test_rates_that_make_no_search_are_refused(rates: tuple[float, float]) -> None:
    with pytest.raises(LoadTestError, match="0 < low <= high"):
        sought(deciding(lambda _: True), *rates)


def test_it_travels_as_json() -> None:
    found = sought(deciding(lambda rate: rate <= 10), 1, 64)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Capacity) == found


def test_the_capacity_of_a_queue_is_found_within_five_percent() -> None:
    """Four places of 100 ms serve 40 requests a second. Random arrivals, another seed for each run."""
    seeds = iter(range(100))

    def run_at_rate(rate: float) -> Verdict:
        samples = open_loop(PaperServer(4, 0.1), rate, seconds=130, seed=next(seeds))
        return judge(summarise(samples, Window(10, 130)), BUILT_IN["server"])

    found = sought(run_at_rate, 7, 160, tolerance=0.02)
    assert found.rate_per_s == pytest.approx(40, rel=0.05)
    assert found.fails_at_per_s == pytest.approx(40, rel=0.05)
