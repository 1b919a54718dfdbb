"""The strings and numbers of a schema: their patterns, formats, lengths and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nemotron_serving.errors import shortened
from nemotron_serving.guide import json_nodes
from nemotron_serving.guide.grammar import MAX_COUNT, Grammar, GuideError, Node, lengths
from nemotron_serving.guide.keywords import Path, Schema, SchemaError, is_of_type
from nemotron_serving.guide.regex import parse

_MAX_DIGITS_OF_BOUNDS = 3000
_OPEN = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
_CLOSED = {open_: closed for closed, open_ in _OPEN.items()}

STRING_KEYWORDS = frozenset(("minLength", "maxLength", "pattern", "format"))
NUMBER_KEYWORDS = frozenset((*_OPEN, *_CLOSED))

_DATE = r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"  # days that every month has
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
_LABEL = r"[A-Za-z0-9]{1,14}(-[A-Za-z0-9]{1,14}){0,3}"  # at most 59 characters of the 63 allowed
_HEX = r"[0-9a-f]{1,4}"
_CLOCK = r"T(\d{1,3}H(\d{1,2}M(\d{1,2}S)?)?|\d{1,3}M(\d{1,2}S)?|\d{1,3}S)"
_DURATION = rf"P(\d{{1,3}}W|\d{{1,4}}D({_CLOCK})?|{_CLOCK})"  # no months and years: they have no length
_SEGMENT = r"[A-Za-z0-9]{1,14}([._~-][A-Za-z0-9]{1,14}){0,3}"
_HOSTNAME = rf"{_LABEL}(\.{_LABEL}){{0,3}}"

FORMATS: dict[str, Node] = {
    name: parse(pattern)
    for name, pattern in {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}T{_TIME}",
        "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "email": rf"[A-Za-z0-9]{{1,14}}([._+-][A-Za-z0-9]{{1,14}}){{0,3}}@{_HOSTNAME}",
        "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
        "ipv6": rf"({_HEX}:){{7}}{_HEX}",
        "hostname": _HOSTNAME,
        "uri": rf"https?://{_LABEL}(\.[A-Za-z]{{2,14}}){{1,3}}(/{_SEGMENT}){{0,4}}",
        "duration": _DURATION,
    }.items()
}
"""Values of `format` that can be written: each generates some of the valid strings only."""

INTEGER_FORMATS: dict[str, tuple[int | None, int | None]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32)},
    "uint64": (0, None),
    "uint": (0, None),
}
"""The smallest and the largest integer of formats that OpenAPI has and code generators write. Others mean nothing
here: what is generated has at most 15 digits."""


class Scalars:
    """Makes the nodes of one schema's strings and numbers; equal ones are one rule.

    Each method takes a schema without what asserts nothing, and its place for errors. It raises SchemaError.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._contents: dict[tuple[str, str], tuple[Node, tuple[int, int | None]]] = {}
        self._numbers: dict[tuple[int | None, ...], Node] = {}
        self._digits = 0

    def string(self, schema: Schema, path: Path) -> Node:
        """Strings of a length, a pattern or a format."""
        low, high = counts(schema, path, "minLength", "maxLength")
        if "pattern" in schema and "format" in schema:
            raise SchemaError(path, "'pattern' beside 'format' is not supported")
        if "pattern" not in schema and "format" not in schema:
            return json_nodes.string(self._grammar, low, high)
        keyword = "pattern" if "pattern" in schema else "format"
        try:
            content, (shortest, longest) = self._content(keyword, schema[keyword])
        except GuideError as error:
            raise SchemaError((*path, keyword), str(error)) from error
        if low > shortest or (high is not None and (longest is None or longest > high)):
            raise SchemaError(
                path,
                f"the {keyword} allows lengths that 'minLength' or 'maxLength' does not; leave them out, or write the "
                "length into a pattern, as in ^[a-z]{2,9}$",
            )
        return content

    def _content(self, keyword: str, value: Any) -> tuple[Node, tuple[int, int | None]]:
        """The string of a pattern or a format, and fewest and most characters in it."""
        key = (keyword, value) if isinstance(value, str) else None
        if key is None or key not in self._contents:
            node = self._pattern(value) if keyword == "pattern" else self._format(value)
            self._contents[keyword, value] = self._grammar.rule(json_nodes.string_of(node)), lengths(node)
        return self._contents[keyword, value]

    def _pattern(self, pattern: Any) -> Node:
        if not isinstance(pattern, str):
            raise GuideError(f"{shortened(pattern)} was given, expected a pattern")
        return parse(pattern)

    def _format(self, name: Any) -> Node:
        if not isinstance(name, str) or name not in FORMATS:
            raise GuideError(f"{shortened(name)} is not supported, expected one of {', '.join(FORMATS)}")
        return FORMATS[name]

    def integer(self, schema: Schema, path: Path) -> Node:
        """Integers within bounds, and within those of an integer format."""
        lows = [math.ceil(value) for value in self._bounds(schema, path, "minimum")]
        lows += [math.floor(value) + 1 for value in self._bounds(schema, path, "exclusiveMinimum")]
        highs = [math.floor(value) for value in self._bounds(schema, path, "maximum")]
        highs += [math.ceil(value) - 1 for value in self._bounds(schema, path, "exclusiveMaximum")]
        least, most = INTEGER_FORMATS.get(str(schema.get("format")), (None, None))
        lows += [] if least is None else [least]
        highs += [] if most is None else [most]
        low, high = max(lows, default=None), min(highs, default=None)
        return self._number_node(path, (low, high), lambda: json_nodes.integer(low, high))

    def number(self, schema: Schema, path: Path) -> Node:
        """Numbers within bounds."""
        lows = [(bound, False) for bound in self._whole_bounds(schema, path, "minimum")]
        lows += [(bound, True) for bound in self._whole_bounds(schema, path, "exclusiveMinimum")]
        highs = [(bound, True) for bound in self._whole_bounds(schema, path, "maximum")]
        highs += [(bound, False) for bound in self._whole_bounds(schema, path, "exclusiveMaximum")]
        if not lows and not highs:
            return json_nodes.NUMBER
        low, above = max(lows, default=(None, False))
        high, within = min(highs, default=(None, True))
        bounds = (low, above, high, within)
        return self._number_node(path, bounds, lambda: json_nodes.number(low, high, above=above, below=not within))

    def _number_node(self, path: Path, bounds: tuple[int | None, ...], make: Callable[[], Node]) -> Node:
        """What lies within bounds: each pair of them once, for the time it takes grows with their digits."""
        try:
            if bounds not in self._numbers:
                self._digits += sum(len(str(abs(bound))) for bound in bounds if type(bound) is int)
                if self._digits > _MAX_DIGITS_OF_BOUNDS:
                    raise GuideError(
                        f"the different bounds of numbers have more than {_MAX_DIGITS_OF_BOUNDS} digits in all; use "
                        "fewer of them"
                    )
                self._numbers[bounds] = self._grammar.rule(make())
            return self._numbers[bounds]
        except GuideError as error:
            raise SchemaError(path, str(error)) from error

    def _bounds(self, schema: Schema, path: Path, keyword: str) -> list[int | float]:
        open_ = _OPEN.get(keyword)
        if keyword not in schema or (open_ and schema.get(open_) is True):
            return []
        value = schema[keyword]
        if value is True and keyword in _CLOSED:
            # OpenAPI 3.0 and draft-04: whether the bound itself is left out.
            keyword = _CLOSED[keyword]
            value = schema.get(keyword, value)
        if not is_of_type(value, "number"):
            raise SchemaError((*path, keyword), f"{shortened(value)} was given, expected a number")
        return [value]

    def _whole_bounds(self, schema: Schema, path: Path, keyword: str) -> list[int]:
        values = self._bounds(schema, path, keyword)
        for value in values:
            if value != int(value):
                raise SchemaError(
                    (*path, keyword), f"{value} was given, expected an integer; widen or narrow the bound to one"
                )
        return [int(value) for value in values]


def counts(schema: Schema, path: Path, low: str, high: str) -> tuple[int, int | None]:
    """What two keywords, such as 'minItems' and 'maxItems', say: at least, and at most or None.

    Raises:
        SchemaError: other values than integers from 0, or more at least than at most.
    """
    for keyword in (low, high):
        value = schema.get(keyword, 0)
        if not is_of_type(value, "integer") or value < 0:
            raise SchemaError((*path, keyword), f"{shortened(value)} was given, expected an integer from 0")
    least, most = int(schema.get(low, 0)), schema.get(high)
    if least > MAX_COUNT:
        raise SchemaError((*path, low), f"{least} was given, expected at most {MAX_COUNT}")
    if most is not None and least > most:
        raise SchemaError((*path, low), f"{least} is more than {high!r} {most}")
    return least, None if most is None else int(most)
