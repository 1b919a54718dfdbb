"""Numbers drawn by chance, compared with their own definitions."""

from __future__ import annotations

import math
import statistics
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_loadtest.scenario.distributions import (
    Delay,
    Exponential,
    Length,
    Lognormal,
    Normal,
    Uniform,
    draw_delay,
    draw_length,
)

COUNT = 20_000


def drawn(distribution: Uniform | Normal | Lognormal | Exponential) -> list[float]:
    random = Random(5)
    return [distribution.draw(random) for _ in range(COUNT)]


@pytest.mark.parametrize(
    ("distribution", "mean", "std"),
    [
        (Uniform(min=2, max=8), 5.0, 6 / math.sqrt(12)),
        (Normal(mean=500, std=50), 500.0, 50.0),
        (Lognormal(mean=300, std=200), 300.0, 200.0),
        (Exponential(mean=3), 3.0, 3.0),
    ],
)
def test_mean_and_deviation_are_those_asked_for(
    distribution: Uniform | Normal | Lognormal | Exponential, mean: float, std: float
) -> None:
    values = drawn(distribution)
    assert statistics.fmean(values) == pytest.approx(mean, abs=4 * std / math.sqrt(COUNT))
    assert statistics.pstdev(values) == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize(
    "distribution",
    [
        Normal(mean=100, std=50, min=80, max=110),
        Lognormal(mean=100, std=50, min=80, max=110),
        Exponential(mean=100, min=80, max=110),
    ],
)
def test_what_is_cut_off_leaves_the_rest_in_proportion(distribution: Normal | Lognormal | Exponential) -> None:
    values = drawn(distribution)
    assert 80 <= min(values) < 80.1
    assert 109.9 < max(values) <= 110
    whole = msgspec.structs.replace(distribution, min=0.0, max=1e6)
    inside = [value for value in drawn(whole) if 80 <= value <= 110]
    share = sum(value < 95 for value in inside) / len(inside)
    assert sum(value < 95 for value in values) / COUNT == pytest.approx(share, abs=4 * 0.5 / math.sqrt(len(inside)))


def test_lengths_are_whole_and_at_least_one() -> None:
    random = Random(1)
    lengths = [draw_length(Normal(mean=1, std=2), random) for _ in range(1000)]
    assert min(lengths) == 1
    assert all(isinstance(length, int) for length in lengths)
    assert draw_length(7, random) == 7
    assert draw_delay(2, random) == 2.0


@pytest.mark.parametrize(
    "distribution", [Normal(mean=5, std=1, min=4.9), Lognormal(mean=5, std=9), Exponential(mean=2)]
)
def test_each_draw_takes_one_number_so_that_what_follows_does_not_shift(
    distribution: Normal | Lognormal | Exponential,
) -> None:
    random, twin = Random(3), Random(3)
    distribution.draw(random)
    twin.random()
    assert random.random() == twin.random()


@given(
    st.one_of(
        st.builds(
            lambda kind, mean, std, low, width: {
                "kind": kind,
                "mean": mean,
                "std": std,
                "min": low,
                "max": low + width,
            },
            st.sampled_from(["normal", "lognormal"]),
            *[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 4,
        ),
        st.builds(
            lambda low, high: {"kind": "uniform", "min": low, "max": high}, st.floats(width=32), st.floats(width=32)
        ),
    )
)
def test_what_is_accepted_can_be_drawn(values: dict[str, object]) -> None:
    try:
        length = msgspec.convert(values, Length)
        delay = msgspec.convert(values, Delay)
    except msgspec.ValidationError:
        return
    for seed in range(5):
        assert draw_length(length, Random(seed)) >= 1
        assert delay.min <= draw_delay(delay, Random(seed)) <= delay.max


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "normal", "mean": 100, "std": 1, "min": 500}, "holds less than 0.1% of the distribution; widen it"),
        ({"kind": "lognormal", "mean": 10, "std": 1, "min": 5, "max": 5}, "min is 5, expected less than max 5"),
        ({"kind": "normal", "mean": 10, "std": 0}, r"Expected `float` > 0.0 - at `\$.std`"),
        ({"kind": "uniform", "min": 3}, "missing required field `max`"),
        ({"kind": "zipf"}, "Invalid value 'zipf'"),
        (0, "Expected `int` >= 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values: object, complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, Length)
