"""Grammars as small trees under named rules, and the sets of characters in their leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Ranges: TypeAlias = "tuple[tuple[int, int], ...]"
"""A set of characters: sorted ranges of code points, both ends included."""

DIGITS: Ranges = ((ord("0"), ord("9")),)
NON_ASCII: Ranges = ((0x80, 0xD7FF), (0xE000, 0x10FFFF))
ASCII: Ranges = ((0x00, 0x7F),)
ALPHABET: Ranges = ((0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x7E), *NON_ASCII)
"""All that is generated: of ASCII's control characters tab, line feed and carriage return alone; no surrogates."""

MAX_COUNT = 4096
"""Most repetitions that are counted: an upper bound above it is lowered to it."""

FEW = 32
"""So many characters outside ASCII are written one by one in a grammar."""

_LEAST_BREADTH = 0.05
_LETTERS = (*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1))


class GuideError(ValueError):
    """What cannot be turned into a grammar, and why. The reader of the input adds where it stands."""


@dataclass(frozen=True)
class Text:
    """Exactly these characters."""

    text: str


@dataclass(frozen=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True)
class Seq:
    """Its parts, one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of its options."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """An item at least `low` times and at most `high` times; None is without end."""

    item: Node
    low: int
    high: int | None


@dataclass(frozen=True)
class Ref:
    """What the rule of this name says."""

    name: str


Node: TypeAlias = "Text | Chars | Seq | Choice | Repeat | Ref"

EMPTY = Text("")


def sequence(*parts: Node) -> Node:
    """The parts one after the other, without needless nesting."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Seq) else (part,))]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def choice(*options: Node) -> Node:
    """One of the options, without needless nesting."""
    return options[0] if len(options) == 1 else Choice(options)


def optional(node: Node) -> Node:
    """The node or nothing."""
    return Choice((node, EMPTY))


def lengths(node: Node) -> tuple[int, int | None]:
    """Fewest and most characters of a tree without rules; None is without end."""
    if isinstance(node, Text):
        return len(node.text), len(node.text)
    if isinstance(node, Chars):
        return 1, 1
    if isinstance(node, Repeat):
        low, high = lengths(node.item)
        endless = high is None or (node.high is None and high > 0)
        return low * node.low, None if endless else (high or 0) * (node.high or 0)
    if isinstance(node, Ref):
        raise TypeError(f"the length of rule {node.name} is not known")
    inner = [lengths(part) for part in (node.parts if isinstance(node, Seq) else node.options)]
    lows, highs = [low for low, _ in inner], [high for _, high in inner]
    bounded = [high for high in highs if high is not None]
    joined = sum if isinstance(node, Seq) else max
    low = sum(lows) if isinstance(node, Seq) else min(lows)
    return low, joined(bounded) if len(bounded) == len(highs) else None


class Grammar:
    """Rules by name. Equal rules are one rule.

    Attributes:
        rules: What has been declared and defined so far.
    """

    def __init__(self) -> None:
        self.rules: dict[str, Node] = {}
        self._names: dict[Node, Ref] = {}

    def rule(self, node: Node) -> Ref:
        """A rule for a node: shared by all that ask for an equal one."""
        if isinstance(node, Ref):
            return node
        if node not in self._names:
            self._names[node] = self.declare()
            self.rules[self._names[node].name] = node
        return self._names[node]

    def declare(self) -> Ref:
        """A rule that is defined later, so that its definition may refer to it."""
        ref = Ref(f"r{len(self.rules)}")
        self.rules[ref.name] = EMPTY
        return ref

    def define(self, ref: Ref, node: Node) -> None:
        """Say what a declared rule is."""
        self.rules[ref.name] = node

    def endless(self) -> set[str]:
        """Names of the rules that no finite text fulfils."""
        open_rules = dict(self.rules)
        before = len(open_rules) + 1
        while len(open_rules) < before:
            before = len(open_rules)
            for name, node in list(open_rules.items()):
                if not _needs(node, open_rules):
                    del open_rules[name]
        return set(open_rules)

    def circular(self, names: Iterable[str]) -> set[str]:
        """Those of the rules that may stand for themselves, without a character in between."""
        heads = {name: set(_heads(node)) for name, node in self.rules.items()}
        return {name for name in names if name in _reachable(name, heads)}


def _needs(node: Node, open_rules: dict[str, Node]) -> bool:
    """Whether every text of a node needs one of the open rules."""
    if isinstance(node, Ref):
        return node.name in open_rules
    if isinstance(node, Seq):
        return any(_needs(part, open_rules) for part in node.parts)
    if isinstance(node, Choice):
        return all(_needs(option, open_rules) for option in node.options)
    return isinstance(node, Repeat) and node.low > 0 and _needs(node.item, open_rules)


def _heads(node: Node) -> Iterator[str]:
    """Rules that a node may begin with. Rules that refer to themselves are of JSON values, which are never empty."""
    if isinstance(node, Ref):
        yield node.name
    elif isinstance(node, Seq):
        yield from _heads(node.parts[0])
    elif isinstance(node, Choice):
        for option in node.options:
            yield from _heads(option)
    elif isinstance(node, Repeat):
        yield from _heads(node.item)


def _reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += edges[name]
    return found


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


def set_of(characters: Iterable[str]) -> Ranges:
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
