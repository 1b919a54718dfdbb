from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemotron_loadtest.report.axes import Axis, between, fitting, growing, linear, tail

positive = st.floats(1e-3, 1e9)


def sound(axis: Axis) -> None:
    assert axis.high > axis.low
    assert 0 <= len(axis.ticks) <= 12
    for value, label in axis.ticks:
        assert -1e-6 <= axis.at(value) <= 1 + 1e-6
        assert label
    assert axis.at(axis.low - 1) == 0
    assert axis.at(axis.high * 2 + 1) == pytest.approx(1)


@given(st.lists(st.one_of(st.none(), st.just(0.0), st.floats(1e-6, 1e12)), max_size=5))
def test_linear_and_fitting_hold_all_values(values: list[float | None]) -> None:
    for axis in (linear(values), fitting(values)):
        sound(axis)
        assert all(value is None or value <= axis.high * (1 + 1e-9) for value in values)


@example(0.001, 0.0010000000000000002)
@given(positive, positive)
def test_between_and_growing(one: float, other: float) -> None:
    low, high = sorted((one, other))
    sound(between(low, high))
    sound(growing(low, high))


@given(st.integers(1, 10**7))
def test_tail(values: int) -> None:
    axis = tail(values)
    sound(axis)
    assert axis.at(values / (values + 1)) == pytest.approx(1, abs=1e-6) or values < 9


def test_each_nine_is_as_long_as_the_one_before() -> None:
    axis = tail(100_000)

    assert axis.at(0.99) - axis.at(0.9) == pytest.approx(axis.at(0.999) - axis.at(0.99))


def test_far_apart_values_make_factors_equally_long() -> None:
    axis = fitting([1.0, 10.0, 10_000.0])

    assert axis.warp is math.log10
    assert axis.at(100) == pytest.approx(0.5)
