"""Pydantic models as schemas, known by their methods: pydantic itself is not needed, and never imported from here."""

from __future__ import annotations

from typing import Any

# What the server cannot hold an answer to and the model sees to by itself when it reads one.
_LEFT_TO_PYDANTIC = ("discriminator", "uniqueItems")


def is_model(kind: Any) -> bool:
    """Whether this is a pydantic model class."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def schema_of(model: Any) -> dict[str, Any]:
    """The schema of a model, with its `$defs`."""
    schema: dict[str, Any] = _followable(model.model_json_schema())
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


def _followable(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs"):
            kept[keyword] = {name: _followable(one) for name, one in value.items()}
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            # One tagged by a discriminator cannot fit two, which the server need not prove.
            name = "anyOf" if keyword == "oneOf" and "discriminator" in schema else keyword
            kept[name] = [_followable(one) for one in value]
        elif keyword in ("items", "additionalProperties"):
            kept[keyword] = _followable(value)
        elif keyword not in _LEFT_TO_PYDANTIC:
            kept[keyword] = value
    return kept
