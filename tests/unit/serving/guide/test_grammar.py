from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import stock_guide
from nemotron_serving.guide.grammar import Ranges, common, minus, size_of, union

_SETS = st.frozensets(st.integers(0, 40), max_size=30)


def ranges(numbers: frozenset[int]) -> Ranges:
    return union(*(((number, number),) for number in numbers))


def numbers(given_ranges: Ranges) -> set[int]:
    return {number for low, high in given_ranges for number in range(low, high + 1)}


@given(_SETS, _SETS)
def test_sets_of_characters_are_sets(first: frozenset[int], second: frozenset[int]) -> None:
    assert numbers(minus(ranges(first), ranges(second))) == first - second
    assert numbers(common(ranges(first), ranges(second))) == first & second
    assert numbers(union(ranges(first), ranges(second))) == first | second
    assert size_of(ranges(first)) == len(first)


def test_a_pattern_of_many_separate_characters_is_no_trouble() -> None:
    pattern = "".join(f"{chr(0x4E00 + 2 * number)}?" for number in range(512))
    begin = time.process_time()
    try:
        stock_guide("regex", pattern)
    except InvalidRequestError as refusal:
        assert "regex" in str(refusal)
    assert time.process_time() - begin < 3  # it was 7 s
