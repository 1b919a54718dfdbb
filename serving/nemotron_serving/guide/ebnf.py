"""The text of a grammar in xgrammar's EBNF.

Only what every release of xgrammar since 0.1.25 reads in one way is written: literals, classes, groups, `|`, `*`, and
counts of at most 62. The text is ASCII.
"""

from __future__ import annotations

import string
from collections.abc import Iterator

from nemotron_serving.guide.grammar import (
    ASCII,
    EMPTY,
    FEW,
    MAX_COUNT,
    NON_ASCII,
    Chars,
    Choice,
    Grammar,
    GuideError,
    Node,
    Ranges,
    Ref,
    Repeat,
    Seq,
    Text,
    breadth,
    common,
    minus,
    size_of,
)

# With these, compiling takes up to 200 ms with 50,000 tokens on two cores.
_MAX_BYTES = 32 * 1024
_MAX_COST = 50  # in scans of the whole vocabulary

# How a repetition is counted: in single steps up to the second number, else in groups of the first. A step costs a
# scan of the vocabulary when the grammar is compiled; a group costs time in each token, less the longer it is. So the
# longest that the limit above allows are taken.
_COUNTING = ((32, 32), (16, 30), (8, 14))
_HEX_DIGITS = frozenset(string.hexdigits)
_CARET = ord("^")
_EXACT = 64  # what goes further is lowered to a multiple of 8, less 1, so that more of them share rules
_ROUNDING = 8


def render(grammar: Grammar, root: Node) -> str:
    """The rules that a node needs, and the node as the rule `root`.

    Raises:
        GuideError: it is too large, or would take too long to compile.
    """
    for group, max_steps in _COUNTING:
        try:
            return _Writer(grammar.rules, group, max_steps).write(root)
        except _TooCostlyError:
            continue
    raise GuideError(
        "too complex: preparing it would hold up other requests; use fewer different length limits, "
        "patterns and formats"
    )


class _TooCostlyError(Exception):
    """Compiling the grammar would take too long as it is counted."""


class _Writer:
    """Writes the rules that the root needs, and counts what compiling them costs."""

    def __init__(self, rules: dict[str, Node], group: int, max_steps: int) -> None:
        self._rules = rules
        self._group_size = group
        self._max_steps = max_steps
        self._helpers: dict[str, str] = {}  # rules of repetitions: name by text
        self._lines: dict[str, str] = {}
        self._size = 0
        self._cost = 0.0

    def write(self, root: Node) -> str:
        self._line("root", self._alternatives(root))
        waiting = list(_refs(root))
        while waiting:
            name = waiting.pop()
            if name not in self._lines:
                self._lines[name] = ""
                self._line(name, self._alternatives(self._rules[name]))
                waiting += _refs(self._rules[name])
        return "".join(self._lines.values())

    def _line(self, name: str, body: str) -> None:
        self._lines[name] = f"{name} ::= {body}\n"
        self._size += len(self._lines[name])
        if self._size > _MAX_BYTES:
            raise GuideError(f"too large: its grammar has more than {_MAX_BYTES} bytes; ask for less at once")

    def _spend(self, cost: float) -> None:
        self._cost += cost
        if self._cost > _MAX_COST:
            raise _TooCostlyError

    def _alternatives(self, node: Node) -> str:
        return " | ".join(map(self._sequence, node.options)) if isinstance(node, Choice) else self._sequence(node)

    def _sequence(self, node: Node) -> str:
        return " ".join(map(self._atom, node.parts)) if isinstance(node, Seq) else self._atom(node)

    def _atom(self, node: Node) -> str:
        if isinstance(node, Text):
            return _literal(node.text)
        if isinstance(node, Chars):
            self._spend(breadth(node.ranges))
            return _class(node.ranges)
        if isinstance(node, Ref):
            return node.name
        if isinstance(node, Repeat):
            return self._repeat(node)
        return f"({self._alternatives(node)})"

    def _repeat(self, node: Repeat) -> str:
        if node.high == 0:
            return self._atom(EMPTY)
        if node.low == node.high == 1:
            return self._atom(node.item)
        item, cost = self._item(node.item)
        parts = [self._exactly(item, node.low)] if node.low else []
        if node.high is None:
            parts.append(f"{self._atom(node.item) if isinstance(node.item, Chars) else item}*")
        elif node.high > node.low:
            parts.append(self._at_most(item, min(node.high, MAX_COUNT) - node.low, cost))
        return " ".join(parts)

    def _item(self, node: Node) -> tuple[str, float]:
        """The rule of what is repeated, and the cost of each step of a count."""
        text = self._atom(node)
        if not isinstance(node, Ref):
            text = self._helper(text)
            return text, _cost(node)
        return text, _cost(self._rules[node.name])

    def _exactly(self, item: str, count: int) -> str:
        size = self._group_size
        if count <= self._max_steps:
            return f"{item}{{{count}}}"
        groups = self._exactly(self._group(item), count // size)
        return f"{groups} {item}{{{count % size}}}" if count % size else groups

    def _at_most(self, item: str, count: int, cost: float) -> str:
        """Up to `count`: groups, and then single ones, nearly two groups of them at the most."""
        size = self._group_size
        if count > _EXACT:
            count -= (count + 1) % _ROUNDING
        steps = count if count <= self._max_steps else size - 1 + (count + 1) % size
        singles = self._helper(f"{item}{{0,{steps}}}", steps * cost)
        if steps == count:
            return singles
        return f"{self._at_most(self._group(item), (count - steps) // size, 0)} {singles}"

    def _group(self, item: str) -> str:
        return self._helper(f"{item}{{{self._group_size}}}")

    def _helper(self, body: str, cost: float = 0) -> str:
        if body not in self._helpers:
            self._helpers[body] = f"c{len(self._helpers)}"
            self._spend(cost)
            self._line(self._helpers[body], body)
        return self._helpers[body]


def _refs(node: Node) -> Iterator[str]:
    if isinstance(node, Ref):
        yield node.name
    elif isinstance(node, (Seq, Choice)):
        for part in node.parts if isinstance(node, Seq) else node.options:
            yield from _refs(part)
    elif isinstance(node, Repeat):
        yield from _refs(node.item)


def _cost(node: Node) -> float:
    """Cost of compiling one occurrence, without that of the rules it refers to."""
    if isinstance(node, Chars):
        return breadth(node.ranges)
    if isinstance(node, (Seq, Choice)):
        return sum(map(_cost, node.parts if isinstance(node, Seq) else node.options))
    return _cost(node.item) if isinstance(node, Repeat) else 0


def _literal(text: str) -> str:
    # xgrammar (seen in 2026.4 of OpenVINO GenAI) reads `"\u00e9a"` as U+0E9A: what could be taken for one more digit
    # of an escape begins a literal of its own.
    parts = [""]
    for character in text:
        if character in _HEX_DIGITS and parts[-1] and not _is_plain(parts[-1][-1]):
            parts.append("")
        parts[-1] += character
    return " ".join(f'"{"".join(map(_escaped, part))}"' for part in parts)


def _class(ranges: Ranges) -> str:
    """A set of characters that is `holdable`. In a class xgrammar 0.1.25 knows ASCII, in a negated one all the rest."""
    ascii_ones = common(ranges, ASCII)
    others = minus(ranges, ASCII)
    if others == NON_ASCII:
        return f"[^{_spans(minus(ASCII, ascii_ones))}]"
    if size_of(others) > FEW:
        raise GuideError(f"a class of more than {FEW} characters beyond ASCII that lacks others cannot be held")
    if others:
        options = [_literal(chr(code)) for low, high in others for code in range(low, high + 1)]
        return f"({' | '.join([*options, _class(ascii_ones)] if ascii_ones else options)})"
    if ranges[0][0] == _CARET:
        # Where `^` comes first it negates, however it is written.
        _, high = ranges[0]
        if len(ranges) == 1 and high == _CARET:
            return _literal("^")
        rest = ((_CARET + 1, high), *ranges[1:]) if high > _CARET else ranges[1:]
        return f"[{_spans(rest)}^]"
    return f"[{_spans(ranges)}]"


def _spans(ranges: Ranges) -> str:
    # Those that begin with an escape come last, for the reason in _literal.
    ordered = sorted(ranges, key=lambda span: (not _is_plain(chr(span[0])), span))
    return "".join(
        _escaped(chr(low)) if low == high else f"{_escaped(chr(low))}-{_escaped(chr(high))}" for low, high in ordered
    )


def _is_plain(character: str) -> bool:
    return " " <= character <= "~" or character in "\t\n\r"


def _escaped(character: str) -> str:
    code = ord(character)
    if character.isascii() and (character.isalnum() or character in " _{}:,"):
        return character
    if character in '"\\':
        return f"\\{character}"
    # Not \\x, which takes all hexadecimal digits that follow.
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
