"""Nodes that generate JSON values, as they are written here: on one line, `, ` and `: ` between, ASCII not forced.

White space is never left to the model: small models write it without end. Integers have at most 15 digits. So has a
number with bounds in all, which keeps it on its side of them when it is read as a double; one without bounds has up to
15 digits on either side of the point.
"""

from __future__ import annotations

import json
from typing import Any

from nemotron_serving.guide.grammar import (
    ALPHABET,
    DIGITS,
    EMPTY,
    Chars,
    Choice,
    Grammar,
    GuideError,
    Node,
    Ref,
    Repeat,
    Seq,
    Text,
    choice,
    common,
    minus,
    optional,
    sequence,
    set_of,
)

ANY_DEPTH = 5
"""Levels of lists and objects in a value that no schema describes."""

_QUOTE = Text('"')
_COMMA = Text(", ")
_ESCAPED = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_PLAIN = Chars(minus(ALPHABET, set_of(_ESCAPED)))
_CHARACTER = Choice((_PLAIN, Seq((Text("\\"), Chars(set_of('"\\/bfnrt'))))))

_MAX_DIGITS = 15
_MAX = 10**_MAX_DIGITS - 1
_OPEN_DIGITS = 9  # before the point, on a side of a bounded number that has no bound

_DIGIT = Chars(DIGITS)
_FIRST_DIGIT = Chars(((ord("1"), ord("9")),))
_WHOLE = Choice((Text("0"), Seq((_FIRST_DIGIT, Repeat(_DIGIT, 0, _MAX_DIGITS - 1)))))
_INTEGER = Seq((optional(Text("-")), _WHOLE))

NUMBER: Node = Seq((_INTEGER, optional(Seq((Text("."), Repeat(_DIGIT, 1, _MAX_DIGITS))))))
"""Any number."""


def literal(value: Any) -> Text:
    """Exactly this value."""
    return Text(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def string(grammar: Grammar, low: int = 0, high: int | None = None) -> Node:
    """A string of so many characters."""
    return Seq((_QUOTE, Repeat(grammar.rule(_CHARACTER), low, high), _QUOTE))


def string_of(node: Node) -> Node:
    """A string whose content is what a tree without rules describes."""
    return Seq((_QUOTE, _inside(node), _QUOTE))


def integer(low: int | None, high: int | None) -> Node:
    """Integers from `low` to `high`; None is no bound.

    Raises:
        GuideError: there is none of at most 15 digits.
    """
    low, high = (-_MAX if low is None else max(low, -_MAX)), (_MAX if high is None else min(high, _MAX))
    options: list[Node] = []
    if low < 0:
        options += [Seq((Text("-"), digits)) for digits in _range(max(1, -high), -low)]
    options += _range(max(low, 0), high)
    if not options:
        raise GuideError(f"no integer of at most {_MAX_DIGITS} digits lies within the bounds")
    return choice(*options)


def number(low: int | None, high: int | None, *, above: bool, below: bool) -> Node:
    """Numbers from `low` to `high`; None is no bound.

    Args:
        low: Lower bound.
        high: Upper bound.
        above: Whether the lower bound itself is left out.
        below: Whether the upper bound itself is left out.

    Raises:
        GuideError: there is none.
    """
    open_end = 10**_OPEN_DIGITS - 1
    first = -max(open_end, abs(high or 0)) if low is None else low
    last = max(open_end, abs(low or 0)) if high is None else high
    decimals = _MAX_DIGITS - len(str(max(abs(first), abs(last))))
    if decimals < 0:
        raise GuideError(f"a bound has more than {_MAX_DIGITS} digits")
    options: list[Node] = []
    whole = (first + above, last - below)
    if whole[0] <= whole[1]:
        options.append(integer(*whole))
    if decimals:
        # With something other than zeros after the point, a number lies strictly between two integers.
        fraction = Seq((Text("."), Repeat(_DIGIT, 0, decimals - 1), _FIRST_DIGIT))
        options += [Seq((digits, fraction)) for digits in _range(max(first, 0), last - 1)]
        options += [Seq((Text("-"), digits, fraction)) for digits in _range(max(-last, 0), -first - 1)]
    if not options:
        raise GuideError("no number lies within the bounds")
    return choice(*options)


def any_value(grammar: Grammar, depth: int = ANY_DEPTH) -> Ref:
    """Any value with so many levels of lists and objects."""
    scalars = (string(grammar), NUMBER, *map(literal, (True, False, None)))
    if not depth:
        return grammar.rule(Choice(scalars))
    inner = any_value(grammar, depth - 1)
    return grammar.rule(Choice((*scalars, array(grammar, (), inner, 0, None), mapping(grammar, inner))))


def any_object(grammar: Grammar) -> Node:
    """Any object whose values have up to `ANY_DEPTH` levels."""
    return mapping(grammar, any_value(grammar))


def array(grammar: Grammar, first: tuple[Node, ...], rest: Node, low: int, high: int | None) -> Node:
    """A list: the first items one by one, then `low` to `high` more."""
    item = grammar.rule(rest)
    head = [part for node in first for part in (_COMMA, node)][1:]
    if first:
        return sequence(Text("["), *head, Repeat(grammar.rule(Seq((_COMMA, item))), low, high), Text("]"))
    if high == 0:
        return Text("[]")
    more = Repeat(grammar.rule(Seq((_COMMA, item))), max(low - 1, 0), None if high is None else high - 1)
    items = Seq((item, more))
    return Seq((Text("["), items if low else optional(items), Text("]")))


def mapping(grammar: Grammar, value: Node, name: Node | None = None, low: int = 0, high: int | None = None) -> Node:
    """An object of any names, or of names that `name` generates: `low` (0 or 1) to `high` of them."""
    pair = grammar.rule(Seq((name or string(grammar), Text(": "), grammar.rule(value))))
    if high == 0:
        return Text("{}")
    more = Repeat(grammar.rule(Seq((_COMMA, pair))), 0, None if high is None else high - 1)
    pairs = Seq((pair, more))
    return Seq((Text("{"), pairs if low else optional(pairs), Text("}")))


def record(grammar: Grammar, properties: list[tuple[str, Node, bool]], *, empty: bool = True) -> Node:
    """An object of these names in this order.

    Args:
        grammar: Gets the rules.
        properties: Name, value and whether it is always there.
        empty: Whether all may be left out, where none is always there.
    """
    pairs = [grammar.rule(Seq((literal(name), Text(": "), value))) for name, value, _ in properties]
    # What may follow once something was written, from the last property to the first.
    tails: list[Node] = [EMPTY]
    for pair, (_, _, required) in zip(reversed(pairs), reversed(properties), strict=True):
        written = Seq((_COMMA, pair, tails[-1]))
        tails.append(grammar.rule(written if required else Choice((written, tails[-1]))))
    tails.reverse()
    # Which property comes first: any up to the first that is always there.
    begins: list[Node] = []
    for index, (_, _, required) in enumerate(properties):
        begins.append(Seq((pairs[index], tails[index + 1])))
        if required:
            break
    else:
        if empty or not begins:
            begins.append(EMPTY)
    return Seq((Text("{"), choice(*begins), Text("}")))


def _inside(node: Node) -> Node:
    """The tree with what JSON escapes in strings escaped."""
    if isinstance(node, Text):
        return Text("".join(_ESCAPED.get(character, character) for character in node.text))
    if isinstance(node, Chars):
        plain = common(node.ranges, _PLAIN.ranges)
        escapes = [Text(escape) for character, escape in _ESCAPED.items() if common(node.ranges, set_of(character))]
        options = ([Chars(plain)] if plain else []) + escapes
        if not options:
            raise GuideError("a character class matches nothing that can be written")
        return choice(*options)
    if isinstance(node, Seq):
        return Seq(tuple(map(_inside, node.parts)))
    if isinstance(node, Choice):
        return Choice(tuple(map(_inside, node.options)))
    if isinstance(node, Repeat):
        return Repeat(_inside(node.item), node.low, node.high)
    raise TypeError(f"a tree with rule {node.name}")


def _range(low: int, high: int) -> list[Node]:
    """The integers from `low` to `high`, neither negative; none where `low` is the larger one."""
    options: list[Node] = []
    while low <= high:
        digits = len(str(low))
        last = min(high, 10**digits - 1)
        if low == 10 ** (digits - 1) and last < high:
            # All of this length, and of the lengths up to that of the highest one.
            longest = len(str(high + 1)) - 1
            options.append(sequence(_FIRST_DIGIT, *_up_to(longest - digits, after=digits - 1)))
            last = 10**longest - 1
        else:
            options.append(_same_length(str(low), str(last)))
        low = last + 1
    return options


def _up_to(more: int, after: int) -> list[Node]:
    """`after` digits and at most so many more.

    They are written out: where many counted repetitions begin at the same place, one for each length, the engine's
    library lets the digits run on without end (seen with OpenVINO GenAI's).
    """
    parts: list[Node] = [_DIGIT] * after
    if more:
        tail: Node = optional(_DIGIT)
        for _ in range(more - 1):
            tail = optional(sequence(_DIGIT, tail))
        parts.append(tail)
    return parts


def _same_length(low: str, high: str) -> Node:
    """Digits from `low` to `high`, both of one length."""
    if low == high:
        return Text(low)
    same = next(index for index, pair in enumerate(zip(low, high, strict=True)) if pair[0] != pair[1])
    if same:
        return Seq((Text(low[:same]), _same_length(low[same:], high[same:])))
    rest = len(low) - 1
    if not rest:
        return Chars(((ord(low), ord(high)),))
    begin, end = int(low[0]), int(high[0])
    options: list[Node] = []
    if low[1:].strip("0"):
        options.append(Seq((Text(low[0]), _same_length(low[1:], "9" * rest))))
        begin += 1
    last: list[Node] = []
    if high[1:].strip("9"):
        last.append(Seq((Text(high[0]), _same_length("0" * rest, high[1:]))))
        end -= 1
    if begin <= end:
        options.append(sequence(Chars(((ord(str(begin)), ord(str(end))),)), *([_DIGIT] * rest)))
    return choice(*options, *last)
