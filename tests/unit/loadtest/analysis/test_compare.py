"""Ratios, their intervals, and what is noise."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from nemotron_loadtest.analysis import Comparison, Run, compare, describe
from nemotron_loadtest.analysis.bootstrap import Draws, Quantiles, Sums, interval
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Array, Window
from tests.unit.loadtest.metrics.making import made

RESAMPLES = 200


def run(seed: int, scale: float = 1.0, requests: int = 300, errors: int = 0) -> Run:
    """Requests whose speed varies; `scale` makes all of them slower."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(requests):
        start_s, ttft_s, rest_s = number / 10, rng.lognormal(-2, 0.3), rng.lognormal(-1, 0.2)
        first_s = start_s + scale * ttft_s
        samples.append(made((first_s, 1), (first_s + scale * rest_s, 21), intended_s=start_s, thinking=number % 2 == 0))
    samples += [made(outcome="error", error_type="X", intended_s=number * 0.7) for number in range(errors)]
    return Run(samples, Window(0, requests / 10))


def test_a_change_is_found_with_its_size() -> None:
    found = compare([run(3)], [run(4, scale=1.3)], resamples=RESAMPLES)
    for metric, statistic, origin in (
        ("ttft_ms", "mean", "intended"),
        ("ttft_ms", "p90", "actual"),
        ("itl_ms", "p50", None),
    ):
        difference = found.of(metric, statistic, origin=origin)  # type: ignore[arg-type]
        assert difference is not None
        assert difference.finding == "worse"
        assert difference.low is not None
        assert difference.high is not None
        assert difference.low < 1.3 < difference.high


def test_less_is_better_for_latencies_and_worse_for_rates() -> None:
    found = compare([run(1)], [run(2, scale=0.7)], resamples=RESAMPLES)
    faster = found.of("request_tokens_per_s", "mean")
    assert faster is not None
    assert faster.ratio is not None
    assert faster.ratio > 1.2
    assert faster.finding == "better"
    shorter = found.of("e2e_ms", "p90", origin="intended", thinking="on")
    assert shorter is not None
    assert shorter.finding == "better"


def test_the_same_thing_twice_is_noise() -> None:
    found = compare([run(1)], [run(2)], resamples=RESAMPLES)
    told = [difference.finding for difference in found.differences if difference.finding != "no value"]
    assert told.count("noise") / len(told) > 0.85


def test_the_ratio_is_that_of_the_summaries() -> None:
    a, b = run(1), run(2)
    difference = compare([a], [b], resamples=RESAMPLES).of("ttft_ms", "p99", origin="intended")
    assert difference is not None
    p99s = [
        describe([(sample.arrivals[0].at_s - sample.intended_s) * 1e3 for sample in side.samples]).p99
        for side in (a, b)
    ]
    assert [difference.a, difference.b] == p99s


def test_what_changed_is_told_once_for_each_metric() -> None:
    found = compare([run(3)], [run(4, scale=1.3)], resamples=RESAMPLES)
    changes = found.changes()
    assert 0 < len(changes) <= 10
    assert {one.finding for one in changes} <= {"better", "worse", "changed"}
    metrics = [one.metric for one in changes]
    assert len(set(metrics)) == len(metrics)
    assert {"ttft_ms", "e2e_ms"} <= set(metrics)
    assert [one.metric for one in found.changes(2)] == metrics[:2]


def test_errors_where_there_were_none_come_first() -> None:
    found = compare([run(3)], [run(4, scale=1.3, errors=40)], resamples=RESAMPLES)
    assert found.changes()[0].metric == "error_share"


def test_how_much_is_noise_is_counted() -> None:
    found = compare([run(3)], [run(4, scale=1.3)], resamples=RESAMPLES)
    told = [one.finding for one in found.differences if one.finding != "no value"]
    noise = told.count("noise")
    assert found.count_sentence().startswith(f"{len(told) - noise} of {len(told)} figures changed (")
    assert found.count_sentence().endswith(f"; {noise} are noise.")


def test_the_seed_decides() -> None:
    assert compare([run(1)], [run(2)], resamples=50, seed=7) == compare([run(1)], [run(2)], resamples=50, seed=7)
    assert compare([run(1)], [run(2)], resamples=50, seed=7) != compare([run(1)], [run(2)], resamples=50, seed=8)


def test_errors_where_there_were_none_have_no_ratio_but_are_found() -> None:
    difference = compare([run(1)], [run(2, errors=30)], resamples=RESAMPLES).of("error_share", "value")
    assert difference is not None
    assert (difference.a, difference.ratio, difference.low) == (0, None, None)
    assert difference.finding == "worse"


def test_what_neither_has_is_no_value() -> None:
    found = compare([run(1, requests=50)], [run(2, requests=50)], resamples=RESAMPLES)
    for name, statistic in (("error_share", "value"), ("prefix_cache_share", "value"), ("tpot_ms", "p99")):
        difference = found.of(name, statistic)
        assert difference is not None
        assert difference.finding == "no value"


def test_runs_that_differ_from_each_other_widen_the_interval() -> None:
    """Each run has a speed of its own, which one run a side cannot know."""
    speeds_a, speeds_b = [0.9, 1.0, 1.12, 0.95], [1.05, 0.92, 1.1, 1.0]
    repeated = compare(
        [run(seed, scale) for seed, scale in enumerate(speeds_a)],
        [run(seed + 9, scale) for seed, scale in enumerate(speeds_b)],
        resamples=RESAMPLES,
    )
    single = compare([run(0, 0.9)], [run(9, 1.05)], resamples=RESAMPLES)
    assert (repeated.resampled, single.resampled) == ("runs", "blocks")
    assert "what differs from run to run" in single.note
    of_runs, of_one = (found.of("e2e_ms", "mean", origin="actual") for found in (repeated, single))
    assert of_runs is not None
    assert of_one is not None
    assert of_one.finding == "worse"  # Sure of itself, and wrong: the speeds are alike on average.
    assert of_runs.finding == "noise"


def test_one_mode_alone_is_told_once() -> None:
    only_off = [Run([made((0.1 + n, 1), (0.5 + n, 9), intended_s=n) for n in range(30)], Window(0, 30))]
    assert {difference.thinking for difference in compare(only_off, only_off, resamples=20).differences} == {"all"}


def test_a_side_without_runs_is_refused() -> None:
    with pytest.raises(LoadTestError, match="given are 1 and 0"):
        compare([run(1)], [])


def test_it_travels_as_json() -> None:
    found = compare([run(1)], [run(2)], resamples=20)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Comparison) == found


def correlated(rng: np.random.Generator, blocks: int, each: int) -> list[Array]:
    """Log-normal values that remember their neighbours, cut into blocks."""
    noise = rng.normal(size=blocks * each)
    level, levels = 0.0, []
    for step in noise:
        level = 0.6 * level + math.sqrt(1 - 0.36) * step
        levels.append(level)
    return list(np.exp(0.4 * np.array(levels)).reshape(blocks, each))


@pytest.mark.parametrize("statistic", ["mean", "p90"])
def test_intervals_hold_the_truth_as_often_as_they_say(statistic: str) -> None:
    rng = np.random.default_rng(5)
    trials, blocks, held = 200, 20, 0
    for _ in range(trials):
        draws = Draws(blocks, 300, rng), Draws(blocks, 300, rng)
        sides = correlated(rng, blocks, 30), [1.2 * part for part in correlated(rng, blocks, 30)]
        if statistic == "mean":
            a, b = (
                Sums([float(part.sum()) for part in side], [len(part) for part in side]).resampled(drawn)
                for side, drawn in zip(sides, draws, strict=True)
            )
        else:
            a, b = (
                Quantiles(side, rng).resampled(["p90"], drawn)["p90"] for side, drawn in zip(sides, draws, strict=True)
            )
        ends = interval(b / a, blocks, 0.95)
        assert ends is not None
        held += ends[0] <= 1.2 <= ends[1]
    assert 0.91 <= held / trials <= 0.995


def test_many_values_are_thinned_for_the_interval_alone() -> None:
    values = [np.linspace(0, 1, 50_001), np.linspace(0, 1, 50_001)]
    rng = np.random.default_rng(0)
    quantiles = Quantiles(values, rng)
    assert quantiles.value("p99") == pytest.approx(0.99)
    assert quantiles.resampled(["p99"], Draws(2, 5, rng))["p99"] == pytest.approx(np.full(5, 0.99), abs=0.005)


def test_a_run_that_measured_nothing_is_refused() -> None:
    with pytest.raises(LoadTestError, match="Nothing was measured: the window goes from 5 s to 3 s"):
        compare([run(1)], [Run(run(2).samples, Window(5, 3))])
