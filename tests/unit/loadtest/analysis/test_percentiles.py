"""Percentiles against their definition."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_loadtest.analysis import PERCENTILES, Percentile, describe, samples_for_trust, samples_needed

finite = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)
SHARES: dict[Percentile, Fraction] = {
    "p50": Fraction(1, 2),
    "p90": Fraction(9, 10),
    "p95": Fraction(95, 100),
    "p99": Fraction(99, 100),
    "p99_9": Fraction(999, 1000),
}


@given(st.lists(finite, max_size=400))
def test_nearest_rank_of_the_sorted_values(values: list[float]) -> None:
    found = describe(values)
    for name, share in SHARES.items():
        expected = sorted(values)[math.ceil(share * len(values)) - 1] if len(values) * (1 - share) >= 1 else None
        assert found.at(name) == expected


@given(st.lists(finite, min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_the_order_makes_no_difference_to_the_last_bit(values: list[float], rng: random.Random) -> None:
    shuffled = values.copy()
    rng.shuffle(shuffled)
    assert describe(shuffled) == describe(values)


@given(st.lists(finite, min_size=1, max_size=50))
def test_percentiles_lie_between_the_ends_and_rise(values: list[float]) -> None:
    found = describe(values)
    present = [value for name in PERCENTILES if (value := found.at(name)) is not None]
    assert found.min is not None
    assert found.max is not None
    assert [found.min, *present, found.max] == sorted([found.min, *present, found.max])


@pytest.mark.parametrize(
    ("name", "needed", "trusted"),
    [("p50", 2, 5), ("p90", 10, 29), ("p95", 20, 59), ("p99", 100, 299), ("p99_9", 1000, 2995)],
)
def test_how_many_values_a_percentile_needs(name: Percentile, needed: int, trusted: int) -> None:
    assert samples_needed(name) == needed
    assert samples_for_trust(name) == trusted
    assert describe(range(needed - 1)).at(name) is None
    assert describe(range(needed)).at(name) == needed - 2  # One value lies beyond.


def test_a_p99_of_forty_is_none() -> None:
    found = describe(range(40))
    assert (found.p95, found.p99, found.max) == (37, None, 39)


def test_moments_by_hand() -> None:
    found = describe([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.count, found.mean) == (8, 5)
    assert found.std == pytest.approx(math.sqrt(32 / 7))


def test_nothing_has_no_values() -> None:
    assert describe([]).mean is None
    assert describe([3.0]).std is None
    assert describe(np.array([1.0, 3.0])).p50 == 1
