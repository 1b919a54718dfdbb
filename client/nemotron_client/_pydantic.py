"""Pydantic models as schemas, known by their methods: pydantic itself is not needed, and never imported from here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

# What the server can hold an answer to, with what it is for. All else the model sees to when it reads the answer.
_HELD = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "$defs", "$ref", "anyOf", "oneOf", "allOf"),
        *("type", "enum", "const", "minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("items", "prefixItems", "minItems", "maxItems"),
        *("properties", "required", "additionalProperties"),
        *("propertyNames", "patternProperties", "minProperties", "maxProperties"),
    )
)
_FORMATS = frozenset(
    ("date", "time", "date-time", "duration", "uuid", "email", "ipv4", "ipv6", "hostname", "uri", "password")
)
_LOW, _HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_MOST_DIGITS = 10**15  # the server's numbers stay below


def is_model(kind: Any) -> bool:
    """Whether this is a pydantic model class."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def schema_of(model: Any) -> dict[str, Any]:
    """The schema of a model, with its `$defs`."""
    given = model.model_json_schema()
    schema: dict[str, Any] = _followable(given, frozenset(_tags(given)))
    return schema


def read(model: Any, value: Any, at: str) -> Any:
    """The model's object for a JSON value.

    Raises:
        ValueError: it does not fit; says where, not what was given.
    """
    try:
        return model.model_validate(value)
    except ValueError as error:
        details = getattr(error, "errors", None)
        if details is None:
            raise
        found = details(include_url=False, include_context=False, include_input=False)
        told = "; ".join(f"{'.'.join(map(str, one['loc'])) or model.__name__}: {one['msg']}" for one in found)
    raise ValueError(f"{at}: {told}")  # without pydantic's own error, which shows the value


def _tags(schema: Any) -> Iterator[str]:
    """The properties that tell the members of a union apart."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    mark = schema.get("discriminator") if isinstance(schema, dict) else None
    if isinstance(mark, dict) and isinstance(name := mark.get("propertyName"), str):
        yield name
    for part in parts:
        yield from _tags(part)


def _followable(schema: Any, tags: frozenset[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs", "patternProperties"):
            kept[keyword] = {name: _followable(one, tags) for name, one in value.items()}
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            # One tagged by a discriminator cannot fit two, which the server need not prove.
            name = "anyOf" if keyword == "oneOf" and "discriminator" in schema else keyword
            kept[name] = [_followable(one, tags) for one in value]
        elif keyword in ("items", "additionalProperties", "propertyNames"):
            kept[keyword] = _followable(value, tags)
        elif keyword in _HELD:
            kept[keyword] = value
    # A tag with a default may be left out for the schema, but not for pydantic.
    if missing := tags & kept.get("properties", {}).keys() - set(kept.get("required", ())):
        kept["required"] = [*kept.get("required", ()), *sorted(missing)]
    _loosen_text(kept)
    _loosen_bounds(kept)
    _loosen_counts(kept)
    return kept


def _loosen_text(schema: dict[str, Any]) -> None:
    """The server holds one of lengths, a pattern and a format."""
    if "pattern" in schema or schema.get("format") not in _FORMATS:
        schema.pop("format", None)
    if "pattern" in schema or "format" in schema:
        for keyword in ("minLength", "maxLength"):
            schema.pop(keyword, None)


def _loosen_bounds(schema: dict[str, Any]) -> None:
    """The server's bounds of numbers are integers."""
    if schema.get("type") == "integer":
        return
    for keywords, rounded in ((_LOW, math.floor), (_HIGH, math.ceil)):
        for keyword in keywords:
            bound = schema.get(keyword)
            if bound is not None and abs(bound) < _MOST_DIGITS:
                schema[keyword] = rounded(bound)
            else:
                schema.pop(keyword, None)


def _loosen_counts(schema: dict[str, Any]) -> None:
    """The server cannot see that a name comes twice, nor choose among names."""
    if "minProperties" in schema:
        schema["minProperties"] = min(schema["minProperties"], 1)
    if "propertyNames" in schema:
        schema.pop("maxProperties", None)
    if len(schema.get("patternProperties", "1")) != 1:
        del schema["patternProperties"]
