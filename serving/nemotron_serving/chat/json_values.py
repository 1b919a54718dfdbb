"""JSON inside prompts: how it is written, and what of the callers' JSON can be."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from nemotron_serving.errors import InvalidRequestError

_MAX_DEPTH = 64  # far beyond real schemas and arguments, far below Python's recursion limit


def dump(value: Any) -> str:
    """JSON as prompts hold it: `, ` and `: ` between the values, letters of all scripts as they are."""
    return json.dumps(value, ensure_ascii=False)


def quoted(text: str, tag: str) -> str:
    """A text in which the tag occurs as JSON, where it can be escaped: as a JSON string if it is none; others as is."""
    return dump(text) if tag in text and not is_json(text) else text


def is_json(text: str) -> bool:
    """Whether a text is one complete JSON value."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def read_json(field: str, text: str, kind: Any, expected: str) -> Any:
    """What a caller sent as JSON, of this type.

    Raises:
        InvalidRequestError: not JSON, or of another type; `expected` says what it should be.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(field, f"{error}. Expected {expected}.") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequestError(field, f"not valid JSON ({error}). Expected {expected}.") from error


def check_depth(field: str, value: Any) -> None:
    """Refuse values whose nesting would exhaust the stack of those who walk them.

    Raises:
        InvalidRequestError: naming the field and the limit.
    """
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise InvalidRequestError(field, f"nested too deeply, expected at most {_MAX_DEPTH} levels")


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
