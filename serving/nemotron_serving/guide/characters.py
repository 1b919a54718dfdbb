"""Sets of characters, as sorted ranges of code points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Ranges: TypeAlias = "tuple[tuple[int, int], ...]"

FEW = 32
"""So many characters outside ASCII are written one by one in a grammar."""

_LEAST_BREADTH = 0.05
_LETTERS = (*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1))


def union(*sets: Ranges) -> Ranges:
    """Characters of any of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(span for ranges in sets for span in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def minus(ranges: Ranges, removed: Ranges) -> Ranges:
    """Characters of the first set that are not in the second: one walk along both."""
    left: list[tuple[int, int]] = []
    place = 0
    for first, last in ranges:
        while place < len(removed) and removed[place][1] < first:
            place += 1
        begin, at = first, place
        while at < len(removed) and removed[at][0] <= last:
            low, high = removed[at]
            if begin < low:
                left.append((begin, low - 1))
            begin = high + 1
            at += 1
        if begin <= last:
            left.append((begin, last))
    return tuple(left)


def common(first: Ranges, second: Ranges) -> Ranges:
    """Characters of both sets."""
    return minus(first, minus(first, second))


def of(characters: Iterable[str]) -> Ranges:
    """The set of these characters."""
    return union(*(((ord(character), ord(character)),) for character in characters))


def size_of(ranges: Ranges) -> int:
    """How many characters there are in the set."""
    return sum(high - low + 1 for low, high in ranges)


def holdable(ranges: Ranges) -> Ranges:
    r"""The part of a set that every engine's grammar can hold: of ASCII all; of the rest all, few characters or none.

    xgrammar 0.1.25, that of TensorRT-LLM 1.2.1, cuts the bounds of other ranges to a byte: `[一-龥]` would take letters
    and digits, and what stands for `\S` line breaks.
    """
    others = common(ranges, NON_ASCII)
    return ranges if others == NON_ASCII or size_of(others) <= FEW else common(ranges, ASCII)


def breadth(ranges: Ranges) -> float:
    """About the share of a vocabulary that begins with one of the set: half with a space, half with a letter.

    It is what a place in a grammar costs where one of the set follows.
    """
    letters: int = sum(low <= letter <= high for letter in _LETTERS for low, high in ranges)
    space = any(low <= ord(" ") <= high for low, high in ranges)
    return max(_LEAST_BREADTH, 0.5 * letters / len(_LETTERS) + 0.5 * space)


DIGITS: Ranges = ((ord("0"), ord("9")),)
NON_ASCII: Ranges = ((0x80, 0xD7FF), (0xE000, 0x10FFFF))
ASCII: Ranges = ((0x00, 0x7F),)
ALPHABET: Ranges = ((0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x7E), *NON_ASCII)
"""All that is generated: of ASCII's control characters tab, line feed and carriage return alone; no surrogates."""
