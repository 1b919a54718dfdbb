"""What an answer must look like: from a schema or a Python type to the server's `response_format`, and back."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nemotron_client._errors import ParseError
from nemotron_client._forms import Form, NotJsonError, form_of
from nemotron_client._types import Reply

_JSON_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_OWN_TYPES = ("text", "json_object", "json_schema", "regex", "choice")
_OF_JSON = ("json_object", "json_schema")


@dataclass(frozen=True)
class Format:
    """What `response_format` asks for.

    Attributes:
        json: The option as the server takes it.
        parsed: The reply with `parsed` set.
    """

    json: Any
    parsed: Callable[[Reply, str], Reply]


def format_of(given: Any) -> Format:
    """Read the option `response_format`.

    Args:
        given: A dict in OpenAI's shape, a JSON schema, or a type: a dataclass, a TypedDict, a pydantic model, or
            whatever else a tool's parameter may be, such as `list[City]`.

    Raises:
        TypeError: none of these, or a type that is not supported.
        ValueError: a dict that is neither.
    """
    if isinstance(given, str):
        given = _decoded(given)
    if isinstance(given, Mapping):
        wire = _in_openai_shape(given)
        return Format(wire, _as_json if wire["type"] in _OF_JSON else _as_text)
    form = _form(given)
    name = given.__name__ if isinstance(given, type) else "answer"
    wire = {"type": "json_schema", "json_schema": {"name": name, "schema": form.schema}}
    return Format(wire, lambda reply, url: _as_object(form, reply, url))


def _decoded(text: str) -> Any:
    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise ValueError("response_format: text was given that is no JSON object, expected a dict or a type")
    return decoded


def _in_openai_shape(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("type")
    if isinstance(kind, str) and kind in _OWN_TYPES:
        return dict(given)
    if isinstance(kind, str) and kind not in _JSON_TYPES:
        raise ValueError(f"response_format: the type {kind!r}, expected {', '.join(_OWN_TYPES)} or a JSON schema")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(given)}}


def _form(annotation: Any) -> Form:
    try:
        hash(annotation)
    except TypeError:
        message = f"response_format: {type(annotation).__name__} was given, expected a dict or a type"
        raise TypeError(message) from None
    return _form_once(annotation)


@functools.lru_cache(maxsize=64)
def _form_once(annotation: Any) -> Form:
    """Looking at a type takes milliseconds, and a program asks for the same few types again and again."""
    return form_of(annotation, "response_format")


def _as_text(reply: Reply, _url: str) -> Reply:
    return reply


def _as_json(reply: Reply, _url: str) -> Reply:
    with contextlib.suppress(ValueError, RecursionError):
        return replace(reply, parsed=json.loads(reply.content))
    return reply  # it was cut off, and who asked with a dict looks at the finish reason


def _as_object(form: Form, reply: Reply, url: str) -> Reply:
    try:
        return replace(reply, parsed=form.read(reply.content))
    except NotJsonError:
        raise ParseError(_cut_off(reply), reply=reply, url=url) from None
    except ValueError as error:
        raise ParseError(f"The answer does not fit: {error}", reply=reply, url=url) from None


def _cut_off(reply: Reply) -> str:
    advice = {
        "length": "was cut off by max_tokens, or by the end of the model's context: give it more room",
        "timeout": "was cut off by the server's deadline: see timeout_ms",
        "cancelled": "was cancelled",
        "repetition": "repeated itself and was ended: see repetition_guard",
    }
    why = advice.get(reply.finish_reason, f"is not JSON, with the finish reason {reply.finish_reason!r}")
    return f"The answer {why}. `reply` of this error has what came."
