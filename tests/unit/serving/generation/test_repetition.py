from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.generation.repetition import RepetitionGuard, shortest_period


def loops_at(tokens: list[int]) -> int | None:
    """After how many tokens the guard says that the output loops."""
    guard = RepetitionGuard()
    return next((end for end in range(1, len(tokens) + 1) if guard.loops(tokens[:end])), None)


@given(st.lists(st.integers(0, 2), max_size=40))
def test_the_shortest_period_is_the_least_shift_that_changes_nothing(values: list[int]) -> None:
    expected = next(p for p in range(min(1, len(values)), len(values) + 1) if values[p:] == values[: len(values) - p])
    assert shortest_period(values) == expected


@pytest.mark.parametrize("period", [1, 2, 17, 64])
def test_a_loop_is_found_soon_after_it_has_filled_the_window(period: int) -> None:
    varied = random.Random(1).sample(range(1000, 9000), 500)
    tokens = varied + list(range(period)) * (1000 // period + 1)
    found = loops_at(tokens)
    assert found is not None
    assert 500 + 250 <= found <= 500 + 256 + 32


def test_a_long_pattern_a_loop_that_was_left_and_ordinary_text_go_on() -> None:
    varied = random.Random(2).sample(range(1000, 9000), 2000)
    assert loops_at(varied) is None
    assert loops_at(list(range(65)) * 20) is None
    assert loops_at([1, 2] * 100 + varied) is None


def test_chunks_of_any_size_are_noticed() -> None:
    guard, output, found = RepetitionGuard(), [], False
    for _ in range(20):
        output += [1, 2, 3] * 12
        found = found or guard.loops(output)
    assert found
