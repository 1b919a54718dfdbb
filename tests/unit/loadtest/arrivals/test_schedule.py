"""Schedules: exact where they can be, statistics of seeded ones where not."""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_loadtest.arrivals import Rate, rate_of, schedule, think_times, user_starts
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import (
    ClosedLoop,
    Constant,
    Exponential,
    OpenLoop,
    Poisson,
    Ramp,
    Spike,
    Staircase,
    Trace,
    TraceReplay,
)

EVEN: list[OpenLoop] = [
    Constant(rate=7),
    Ramp(from_rate=1, to_rate=9, over_s=20, spacing="even"),
    Ramp(from_rate=9, to_rate=0, over_s=20, spacing="even"),
    Staircase(rates=(2, 0, 5), step_s=7, spacing="even"),
    Spike(rate=1, peak_rate=10, at_s=5, for_s=4, spacing="even"),
]
CHANCE: list[OpenLoop] = [
    Poisson(rate=7),
    Ramp(from_rate=0, to_rate=12, over_s=25),
    Staircase(rates=(2, 0, 5), step_s=7),
    Spike(rate=1, peak_rate=10, at_s=5, for_s=4),
]


def expected(rate: Rate, until_s: float) -> float:
    """Requests by a time, from the definition alone: the sum over small steps."""
    steps = 20_000
    width = until_s / steps
    return sum(rate.at((step + 0.5) * width) * width for step in range(steps))


def known_rate(arrivals: OpenLoop) -> Rate:
    rate = rate_of(arrivals)
    assert rate is not None
    return rate


def test_constant_arrivals_are_multiples_of_the_interval() -> None:
    times = list(schedule(Constant(rate=4), duration_s=2, seed=1))
    assert times == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


@pytest.mark.parametrize("arrivals", EVEN, ids=repr)
def test_even_arrivals_follow_the_rate_exactly(arrivals: OpenLoop) -> None:
    times = list(schedule(arrivals, duration_s=30, seed=1))
    rate = known_rate(arrivals)
    for number in range(0, len(times), 7):
        assert expected(rate, times[number]) == pytest.approx(number, abs=0.02)
    assert len(times) == pytest.approx(expected(rate, 30), abs=1.01)


def test_a_poisson_process_has_exponential_gaps_and_counts_as_scattered_as_their_mean() -> None:
    times = list(schedule(Poisson(rate=20), duration_s=1000, seed=4))
    gaps = sorted(after - before for before, after in itertools.pairwise([0.0, *times]))
    # Kolmogorov and Smirnov's test at 1 %.
    distance = max(abs(1 - math.exp(-20 * gap) - (rank + 0.5) / len(gaps)) for rank, gap in enumerate(gaps))
    assert distance < 1.63 / math.sqrt(len(gaps))
    counts = [0] * 1000
    for time_s in times:
        counts[int(time_s)] += 1
    assert statistics.fmean(counts) == pytest.approx(20, abs=4 * math.sqrt(20 / 1000))
    assert statistics.pvariance(counts) / 20 == pytest.approx(1, abs=4 * math.sqrt(2 / 1000))


@pytest.mark.parametrize("arrivals", CHANCE, ids=repr)
def test_changing_rates_hold_on_average_over_many_seeds(arrivals: OpenLoop) -> None:
    rate = known_rate(arrivals)
    runs = [list(schedule(arrivals, duration_s=30, seed=seed)) for seed in range(300)]
    for begin, end in itertools.pairwise(range(0, 31, 3)):
        mean = statistics.fmean(sum(begin <= time_s < end for time_s in run) for run in runs)
        should = expected(rate, end) - (expected(rate, begin) if begin else 0)
        assert mean == pytest.approx(should, abs=4 * math.sqrt(max(should, 0.01) / 300) + 0.01)


def test_the_same_seed_gives_the_same_times_on_every_machine() -> None:
    times = list(schedule(Poisson(rate=2), duration_s=3, seed=1))
    assert times == list(schedule(Poisson(rate=2), duration_s=3, seed=1))
    assert times != list(schedule(Poisson(rate=2), duration_s=3, seed=2))
    assert times == pytest.approx([0.6055357155, 1.9651167597, 2.5852204117, 2.8348225512])


@given(
    arrivals=st.sampled_from(EVEN + CHANCE),
    workers=st.integers(1, 9),
    seed=st.integers(0, 2**63 - 1),
    duration_s=st.floats(0.1, 40),
)
def test_the_workers_schedules_together_are_that_of_one(
    arrivals: OpenLoop, workers: int, seed: int, duration_s: float
) -> None:
    whole = list(schedule(arrivals, duration_s=duration_s, seed=seed))
    parts = [
        list(schedule(arrivals, duration_s=duration_s, seed=seed, worker=worker, workers=workers))
        for worker in range(workers)
    ]
    assert list(heapq.merge(*parts)) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert whole == sorted(whole)
    assert all(0 <= time_s < duration_s for time_s in whole)


@given(
    rates=st.lists(st.floats(0, 200), min_size=1, max_size=6).filter(any),
    step_s=st.floats(0.01, 20),
    spacing=st.sampled_from(["even", "poisson"]),
)
def test_no_request_comes_while_the_rate_is_zero(rates: list[float], step_s: float, spacing: str) -> None:
    arrivals = Staircase(rates=tuple(rates), step_s=step_s, spacing="even" if spacing == "even" else "poisson")
    for time_s in schedule(arrivals, duration_s=30, seed=1):
        step = min(int(time_s / step_s * (1 - 1e-9)), len(rates) - 1)
        assert rates[step] > 0 or rates[min(step + 1, len(rates) - 1)] > 0


def test_a_rate_that_ends_at_zero_ends_the_schedule() -> None:
    arrivals = Ramp(from_rate=10, to_rate=0, over_s=10, spacing="even")
    assert len(list(schedule(arrivals, duration_s=1e6, seed=1))) in (50, 51)


def test_the_rate_can_be_asked_for_at_any_time() -> None:
    rate = known_rate(Spike(rate=1, peak_rate=10, at_s=5, for_s=4))
    assert [rate.at(time_s) for time_s in (0, 4.9, 5, 8.9, 9, 1e6)] == [1, 1, 10, 10, 1, 1]
    assert known_rate(Ramp(from_rate=2, to_rate=6, over_s=8)).at(4) == 4
    assert rate_of(TraceReplay()) is None


def test_a_trace_gives_its_own_times_faster_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("Timestamp,Model,Request tokens,Response tokens\n10,M,5,5\n14,M,5,5\n16,M,5,0\n20,M,5,5\n")
    trace = Trace(path=str(path))
    assert list(schedule(TraceReplay(speed=2), duration_s=60, seed=1, trace=trace)) == [0, 2, 5]
    assert list(schedule(TraceReplay(), duration_s=4.5, seed=1, trace=trace)) == [0, 4]
    assert list(schedule(TraceReplay(), duration_s=60, seed=1, trace=trace, worker=1, workers=2)) == [4]
    with pytest.raises(ScenarioError, match=r"there is no \[trace\]"):
        next(schedule(TraceReplay(), duration_s=60, seed=1))


def test_users_of_a_closed_loop_start_one_after_the_other() -> None:
    arrivals = ClosedLoop(users=5, ramp_up_s=10)
    assert list(user_starts(arrivals)) == [0, 2, 4, 6, 8]
    assert list(user_starts(arrivals, worker=1, workers=2)) == [2, 6]
    assert list(user_starts(ClosedLoop(users=2))) == [0, 0]


def test_users_think_each_for_a_time_of_their_own() -> None:
    arrivals = ClosedLoop(think_time_s=Exponential(mean=2))
    first = list(itertools.islice(think_times(arrivals, seed=1, user=0), 2000))
    assert first == list(itertools.islice(think_times(arrivals, seed=1, user=0), 2000))
    assert first[:5] != list(itertools.islice(think_times(arrivals, seed=1, user=1), 5))
    assert statistics.fmean(first) == pytest.approx(2, abs=4 * 2 / math.sqrt(2000))
