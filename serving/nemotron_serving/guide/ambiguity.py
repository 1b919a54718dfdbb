"""How many places of a pattern a text can be at, all at once.

An engine follows all of them for every token, in a step that other requests share: `([a-z]{0,60})*` takes it half a
second a token. It tells places apart by where a group began too, so a group without end that can have begun anywhere
makes their number grow with the text: that counts as infinite here.

The bound is never too small, and exact where each character decides how the pattern goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

from nemotron_serving.guide.grammar import (
    MAX_COUNT,
    Chars,
    Choice,
    Node,
    Ranges,
    Repeat,
    Seq,
    Text,
    breadth,
    common,
    set_of,
    size_of,
    union,
)

_LITERAL_COST = 0.1  # few tokens begin with a given character


@dataclass(frozen=True)
class _Facts:
    """What is known of a part of a pattern.

    Attributes:
        nullable: Whether the part also matches the empty text.
        first: Characters that a match may begin with.
        further: Characters that may go on with a match which could also have ended; all, where one text can be at
            several places.
        characters: All that occur.
        places: How many there are if the part can have begun anywhere, weighted by what following one costs.
        at_once: How many can be reached by one text if it began at one place.
        endless: Whether a match can have any length.
    """

    nullable: bool
    first: Ranges
    further: Ranges
    characters: Ranges
    places: float
    at_once: float
    endless: bool = False


def places_at_once(node: Node) -> float:
    """The bound for a tree without rules; 1 is one place with all letters."""
    return _facts(node).at_once


def _facts(node: Node) -> _Facts:
    if isinstance(node, Text):
        characters = set_of(node.text)
        return _Facts(not node.text, set_of(node.text[:1]), (), characters, _LITERAL_COST, 0)
    if isinstance(node, Chars):
        cost = breadth(node.ranges)
        return _Facts(False, node.ranges, (), node.ranges, cost, cost)
    if isinstance(node, Seq):
        return reduce(_after, map(_facts, node.parts))
    if isinstance(node, Choice):
        return _one_of([_facts(option) for option in node.options])
    if isinstance(node, Repeat):
        return _repeated(_facts(node.item), node.low, node.high, group=not isinstance(node.item, Chars))
    raise TypeError(f"a tree with rule {node.name}")


def _after(left: _Facts, right: _Facts) -> _Facts:
    certain = not common(left.further, right.first)
    characters = union(left.characters, right.characters)
    further = union(right.further, left.further, right.first) if right.nullable else right.further
    return _Facts(
        left.nullable and right.nullable,
        union(left.first, right.first) if left.nullable else left.first,
        further if certain else characters,
        characters,
        left.places + right.places,
        max(left.at_once, right.at_once) if certain else left.at_once + right.places,
        left.endless or right.endless,
    )


def _one_of(options: list[_Facts]) -> _Facts:
    first = union(*(option.first for option in options))
    characters = union(*(option.characters for option in options))
    nullable = any(option.nullable for option in options)
    # Disjoint beginnings: together they have as many characters as one by one.
    certain = size_of(first) == sum(size_of(option.first) for option in options)
    further = union(*(option.further for option in options), first if nullable else ())
    at_once = (max if certain else sum)([option.at_once for option in options])
    endless = any(option.endless for option in options)
    places = math.inf if endless else sum(option.places for option in options)
    return _Facts(nullable, first, further if certain else characters, characters, places, at_once, endless)


def _repeated(item: _Facts, low: int, high: int | None, *, group: bool) -> _Facts:
    endless = high is None or item.endless
    certain = high in (0, 1) or not (item.nullable or common(item.further, item.first))
    further = item.further if low == high else union(item.further, item.first)
    times = min(max(low, 1) if high is None else high, MAX_COUNT)
    return _Facts(
        low == 0 or item.nullable,
        item.first,
        further if certain else item.characters,
        item.characters,
        math.inf if group and endless else item.places * times,
        item.at_once if certain else math.inf,
        endless,
    )
