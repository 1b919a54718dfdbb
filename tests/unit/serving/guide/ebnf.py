"""Reads xgrammar's EBNF, as far as it is written here, and writes random texts of it.

Made from the documentation of the notation alone: it shares nothing with the code under test. What xgrammar reads
otherwise than documented must not be written, which is asserted.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>"(?:\\.|[^"\\])*")
      | (?P<chars>\[(?:\\.|[^\]\\])*\])
      | (?P<count>\{\d+(?:,\d+)?\})
      | (?P<sign>::=|[|()*+?])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r'\\(?:(u[0-9a-f]{4}|U[0-9a-f]{8})|(["\\]))|([^\\])')
_ENDLESS = 10**6
_TOO_DEEP = 10**9
_FEW = 3  # repetitions more than needed, where there is no upper bound


@dataclass
class _Node:
    """`kind` is seq, choice, repeat, rule, text or chars."""

    kind: str
    parts: list[_Node] = field(default_factory=list)
    text: str = ""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    low: int = 0
    high: int = 0


class Ebnf:
    """A grammar to sample from."""

    def __init__(self, text: str) -> None:
        assert text.isascii()
        self.rules: dict[str, _Node] = {}
        for line in text.splitlines():
            name, _, body = line.partition(" ::= ")
            assert name not in self.rules, f"two rules {name}"
            self.rules[name] = _Reader(body).read()
        self._heights: dict[str, int] = dict.fromkeys(self.rules, _TOO_DEEP)
        for _ in self.rules:
            for name, node in self.rules.items():
                self._heights[name] = self._height(node) + 1
        endless = [name for name, height in self._heights.items() if height >= _TOO_DEEP]
        assert not endless, f"rules without a finite text: {endless}"

    def sample(self, rng: random.Random, depth: int = 60, count: Callable[[int, int], int] | None = None) -> str:
        """A random text; below `depth` rules the shortest way out is taken. `count` chooses how often to repeat."""
        choose = count or (lambda low, high: rng.randint(low, min(high, low + _FEW)))
        return self._text(self.rules["root"], rng, depth, choose)

    def _height(self, node: _Node) -> int:
        if node.kind == "rule":
            return self._heights[node.text]
        inner = [self._height(part) for part in node.parts]
        if node.kind == "choice":
            return min(inner)
        if node.kind == "repeat" and not node.low:
            return 0
        return min(max(inner, default=0), _TOO_DEEP)

    def _text(self, node: _Node, rng: random.Random, depth: int, choose: Callable[[int, int], int]) -> str:
        if node.kind == "text":
            return node.text
        if node.kind == "chars":
            low, high = rng.choice(node.ranges)
            return chr(rng.randint(low, rng.choice((high, min(high, low + 60)))))
        if node.kind == "rule":
            return self._text(self.rules[node.text], rng, depth - 1, choose)
        if node.kind == "choice":
            options = node.parts
            if depth <= 0:
                lowest = min(map(self._height, options))
                options = [option for option in options if self._height(option) == lowest]
            return self._text(rng.choice(options), rng, depth, choose)
        if node.kind == "repeat":
            times = node.low if depth <= 0 else choose(node.low, node.high)
            return "".join(self._text(node.parts[0], rng, depth, choose) for _ in range(times))
        return "".join(self._text(part, rng, depth, choose) for part in node.parts)


class _Reader:
    def __init__(self, body: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while body[at:].strip():
            found = _TOKEN.match(body, at)
            assert found and found.lastgroup, f"cannot read {body[at:]!r}"
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def read(self) -> _Node:
        node = self._choice()
        assert not self._tokens, self._tokens
        return node

    def _choice(self) -> _Node:
        options = [self._sequence()]
        while self._tokens and self._tokens[0][1] == "|":
            self._tokens.pop(0)
            options.append(self._sequence())
        return _Node("choice", options)

    def _sequence(self) -> _Node:
        parts = []
        while self._tokens and self._tokens[0] not in (("sign", "|"), ("sign", ")")):
            parts.append(self._repeated(self._atom()))
        assert parts, "an empty alternative"
        return _Node("seq", parts)

    def _atom(self) -> _Node:
        kind, text = self._tokens.pop(0)
        if kind == "name":
            return _Node("rule", text=text)
        if kind == "text":
            return _Node("text", text="".join(_characters(text[1:-1])))
        if kind == "chars":
            return _Node("chars", ranges=_ranges(text[1:-1]))
        assert text == "(", text
        node = self._choice()
        assert self._tokens.pop(0)[1] == ")"
        return node

    def _repeated(self, node: _Node) -> _Node:
        if not self._tokens:
            return node
        kind, text = self._tokens[0]
        bounds = {"*": (0, _ENDLESS), "+": (1, _ENDLESS), "?": (0, 1)}.get(text) if kind == "sign" else None
        if kind == "count":
            low, _, high = text[1:-1].partition(",")
            bounds = (int(low), int(high or low))
        if bounds is None:
            return node
        self._tokens.pop(0)
        return _Node("repeat", [node], low=bounds[0], high=bounds[1])


def _characters(text: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _ESCAPE.match(text, at)
        assert match, f"unknown escape in {text!r}"
        new = chr(int(match[1][1:], 16)) if match[1] else match[2] or match[3]
        special = found and not (found[-1].isascii() and (found[-1].isprintable() or found[-1] in "\t\n\r"))
        assert not (special and new in "0123456789abcdefABCDEF"), f"a digit too many for {text!r}"
        found.append(new)
        at = match.end()
    return found


def _ranges(text: str) -> list[tuple[int, int]]:
    """A hyphen that is not escaped stands between the ends of a range."""
    if negated := text.startswith("^"):
        text = text[1:]
    _characters(text)
    ranges: list[tuple[int, int]] = []
    items = re.findall(r"\\(?:u....|U........|[\"\\])|[^\\]", text)
    assert negated or _characters(items[0]) != ["^"], "it negates, escaped or not"
    while items:
        low = items.pop(0)
        assert low != "-", text
        high = low
        if items and items[0] == "-":
            high = items[1]
            del items[:2]
        ranges.append((ord(_characters(low)[0]), ord(_characters(high)[0])))
    assert all(low <= high for low, high in ranges), text
    return _others(ranges) if negated else ranges


def _others(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    others, begin = [], 0
    for low, high in [*sorted(ranges), (0xD800, 0xDFFF), (0x110000, 0x110000)]:
        if begin < low:
            others.append((begin, low - 1))
        begin = max(begin, high + 1)
    return others
