"""How the fields of a request are looked at: by name, type and range, with an error that names what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import msgspec

from nemotron_front.errors import ApiError, invalid

Use = Literal["honoured", "ignored", "refused"]
Kind = Literal["boolean", "integer", "number", "string", "array of strings", "array of integers", "array", "object"]
Becomes = Callable[[str, Any], Mapping[str, Any]]
"""From a field's name and value to options of the server. Raises ApiError."""

_SHOWN_CHARACTERS = 60
MANUAL = "docs/openai/fields.md lists all fields"


@dataclass(frozen=True)
class Field:
    """A field of a request.

    Attributes:
        name: As callers write it; `nvext.top_k` is the field `top_k` of the object `nvext`.
        use: A field is `honoured`; `ignored`, for it cannot change the answer; or `refused`.
        doc: A line for docs/openai/fields.md, in Markdown.
        kinds: What its value may be; empty: anything.
        range: The least and the greatest number.
        values: The only strings it may be.
        only: Values of a refused field that ask nothing of it, besides null.
        option: The option of the server that it is.
        becomes: The options that it is, where it is not just one with the same value.
    """

    name: str
    use: Use = "honoured"
    doc: str = ""
    _: KW_ONLY
    kinds: tuple[Kind, ...] = ()
    range: tuple[float, float] | None = None
    values: tuple[str, ...] = ()
    only: tuple[Any, ...] = ()
    option: str = ""
    becomes: Becomes | None = None

    @property
    def expected(self) -> str:
        """What its value may be, in words."""
        if self.values:
            return f"one of {', '.join(self.values)}"
        words = " or ".join(_WORDS[kind] for kind in self.kinds) or "any value"
        if self.range is None:
            return words
        low, high = (int(end) if float(end).is_integer() else end for end in self.range)
        return f"{words}, {low} or more" if high in _ENDLESS else f"{words} from {low} to {high}"

    def checked(self, value: Any) -> Any:
        """The value; a whole number such as 5.0 as an integer, where one is wanted.

        Raises:
            ApiError: it is none of the field's.
        """
        if self.kinds:
            kind = next((kind for kind in self.kinds if _IS[kind](value)), None)
            if kind is None:
                raise self._refusal(value)
            if kind == "integer":
                value = int(value)
        if self.range is not None and isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = self.range
            if not low <= value <= high:
                raise self._refusal(value)
        if self.values and value not in self.values:
            raise self._refusal(value)
        return value

    def options(self, value: Any) -> Mapping[str, Any]:
        """The options of the server that it is."""
        if self.becomes is not None:
            return self.becomes(self.name, value)
        return {self.option: value} if self.option else {}

    def asks(self, value: Any) -> bool:
        """Whether a value asks something of a field that is refused."""
        return not any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in self.only)

    def _refusal(self, value: Any) -> ApiError:
        expected = self.expected
        if self.range is not None and _is_number(value) and value > self.range[1]:
            expected = expected.replace(" or more", f" to {self.range[1]}")
        return invalid(self.name, f"{self.name}: {shown(value)} was given, expected {expected}")


class Fields:
    """The fields of an API.

    Attributes:
        rows: All of them. Of two that are the same option, the first one is listened to.
    """

    def __init__(self, rows: Iterable[Field]) -> None:
        self.rows = tuple(rows)
        self._places = {row.name: place for place, row in enumerate(self.rows)}
        self._containers = {row.name.rpartition(".")[0] for row in self.rows} - {""}

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is honoured of a request: values by (dotted) names, in the order of the rows.

        A field that is null, or an empty list, is not there.

        Raises:
            ApiError: a field that does not exist, is refused, or has a value that it cannot have.
        """
        found: dict[int, Any] = {}
        self._read(body, "", found)
        return {self.rows[place].name: found[place] for place in sorted(found)}

    def options(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The options of the server that the given fields are, and for each the field it came from."""
        options: dict[str, Any] = {}
        named: dict[str, str] = {}
        for name, value in given.items():
            for option, made in self.rows[self._places[name]].options(value).items():
                if option not in options:
                    options[option], named[option] = made, name
        return options, named

    def _read(self, values: Mapping[str, Any], prefix: str, found: dict[int, Any]) -> None:
        for key, value in values.items():
            if value is None or value == []:
                continue
            name = prefix + key
            within = name in self._containers and isinstance(value, dict)
            place = self._places.get(name)
            if within:
                self._read(value, f"{name}.", found)
            elif place is None:
                raise self._unknown(name, value)
            elif (row := self.rows[place]).use == "honoured":
                found[place] = row.checked(value)
            elif row.use == "refused" and row.asks(value):
                raise invalid(name, f"{name}: {shown(value)} was given: {row.doc}", "unsupported_parameter")

    def _unknown(self, name: str, value: Any) -> ApiError:
        if name in self._containers:
            return invalid(name, f"{name}: {shown(value)} was given, expected an object")
        close = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], self._places, 1)
        hint = f"did you mean {close[0]}?" if close else f"{MANUAL}."
        name = name[:_SHOWN_CHARACTERS]
        return invalid(name, f"{name}: this server knows no such field; {hint}", "unknown_parameter")


def shown(value: Any) -> str:
    """A value for an error message, shortened."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


def _is_list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


_IS: Mapping[Kind, Callable[[Any], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": _is_number,
    "string": _is_string,
    "array of strings": _is_list_of(_is_string),
    "array of integers": _is_list_of(_is_integer),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_WORDS: Mapping[Kind, str] = {
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array of strings": "a list of strings",
    "array of integers": "a list of integers",
    "array": "a list",
    "object": "an object",
}
_ENDLESS = (2**31 - 1, 2**64 - 1)
