"""What an answer must look like, in all the ways that servers have for it, as the server's `response_format`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nemotron_front.body import decoded
from nemotron_front.errors import ApiError, invalid
from nemotron_front.reading import shown

_TYPES = ("text", "json_object", "json_schema", "regex", "choice")


def read_format(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The field that says it, and the server's `response_format`.

    Args:
        given: What `Fields.read` returns.

    Raises:
        ApiError: two fields say it, or one says what is no format.
    """
    said = [name for name in given if name in FORMATS]
    made = [(name, made) for name in said if (made := FORMATS[name](name, given[name])) is not None]
    if len(made) > 1:
        (first, _), (second, _) = made[:2]
        raise invalid(second, f"{second}: {first} was given as well; send one of them")
    return made[0] if made else None


def _response_format(name: str, value: Any) -> dict[str, Any] | None:
    kind = value.get("type")
    if kind not in _TYPES:
        raise invalid(name, f"{name}.type: {shown(kind)} was given, expected one of {', '.join(_TYPES)}")
    if kind == "text":
        return None
    said = {key: one for key, one in value.items() if one is not None}
    if kind == "json_object" and "schema" in said:  # llama.cpp's
        return {**said, "type": "json_schema"}
    if isinstance(outer := said.get("json_schema"), dict):
        said["json_schema"] = {key: one for key, one in outer.items() if one is not None}
    return said


def _schema(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = decoded(value.encode())  # as strictly as a body: a schema in it goes the same way
        except ApiError:
            value = None
    if not isinstance(value, (dict, bool)):
        raise invalid(name, f"{name}: expected a JSON schema, an object or its JSON as a string")
    return {"type": "json_schema", "schema": value}


def _json_object(_: str, value: bool) -> dict[str, Any] | None:
    return {"type": "json_object"} if value else None


def _regex(_: str, value: str) -> dict[str, Any]:
    return {"type": "regex", "regex": value}


def _choice(_: str, value: list[str]) -> dict[str, Any]:
    return {"type": "choice", "choice": value}


_Reader = Callable[[str, Any], dict[str, Any] | None]

FORMATS: Mapping[str, _Reader] = {
    "response_format": _response_format,
    "json_schema": _schema,
    "regex": _regex,
    **{
        prefix + name: read
        for prefix in ("guided_", "nvext.guided_", "structured_outputs.")
        for name, read in (("json", _schema), ("regex", _regex), ("choice", _choice))
    },
    "structured_outputs.json_object": _json_object,
}
"""The fields that say it → what reads each; None is no format."""
