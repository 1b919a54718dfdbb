"""JSON as it is written here: on one line, `, ` and `: ` between, characters outside ASCII as they are.

White space is never left to the model: small models write it without end.
"""

from __future__ import annotations

import json
from typing import Any

from nemotron_serving.guide import numbers
from nemotron_serving.guide.characters import ALPHABET, common, minus, of
from nemotron_serving.guide.grammar import (
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
    optional,
    sequence,
)

ANY_DEPTH = 5
"""Levels of lists and objects in a value that no schema describes."""

_QUOTE = Text('"')
_COMMA = Text(", ")
_ESCAPED = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_PLAIN = Chars(minus(ALPHABET, of(_ESCAPED)))
_CHARACTER = Choice((_PLAIN, Seq((Text("\\"), Chars(of('"\\/bfnrt'))))))


def literal(value: Any) -> Text:
    """Exactly this value."""
    return Text(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


def string(grammar: Grammar, low: int = 0, high: int | None = None) -> Node:
    """A string of so many characters."""
    return Seq((_QUOTE, Repeat(grammar.rule(_CHARACTER), low, high), _QUOTE))


def string_of(node: Node) -> Node:
    """A string whose content is what a tree without rules describes."""
    return Seq((_QUOTE, _inside(node), _QUOTE))


def any_value(grammar: Grammar, depth: int = ANY_DEPTH) -> Ref:
    """Any value with so many levels of lists and objects."""
    scalars = (string(grammar), numbers.NUMBER, *map(literal, (True, False, None)))
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
        escapes = [Text(escape) for character, escape in _ESCAPED.items() if common(node.ranges, of(character))]
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
