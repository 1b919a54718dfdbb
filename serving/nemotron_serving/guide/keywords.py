"""Every keyword of JSON Schema and of OpenAPI's schemas, and what becomes of it here.

From JSON Schema draft-04 to 2020-12, and the Schema Object of OpenAPI 3.0. A keyword says nothing about values
(an annotation), is held by the grammar, or is refused by name, except where the value that it has asserts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from nemotron_serving.guide.grammar import GuideError
from nemotron_serving.guide.schema_kinds import Schema, is_of_type


class Role(Enum):
    """What a keyword is to the grammar."""

    ANNOTATION = "annotation"
    HELD = "held"
    REFUSED = "refused"


def _never(_value: Any, _schema: Schema) -> bool:
    return False


@dataclass(frozen=True)
class Keyword:
    """What becomes of a keyword.

    Attributes:
        role: See `Role`.
        vacuous: Whether it asserts nothing, from its value and the schema that it stands in.
        hint: What to do instead, for the error.
    """

    role: Role
    vacuous: Callable[[Any, Schema], bool] = _never
    hint: str = ""


def asserting(schema: Schema) -> dict[str, Any]:
    """The part of a schema that says something about values.

    Raises:
        GuideError: a keyword that is not known, or cannot be held.
    """
    kept = {}
    for name, value in schema.items():
        keyword = KEYWORDS.get(name, _UNKNOWN)
        if _annotates(name) or keyword.vacuous(value, schema):
            continue
        if keyword.role is Role.REFUSED:
            raise GuideError(f"{name!r} is not supported{keyword.hint}")
        kept[name] = value
    return kept


def _annotates(name: str) -> bool:
    return name.startswith(_EXTENSION) or KEYWORDS.get(name, _UNKNOWN).role is Role.ANNOTATION


def _anything(value: Any, _schema: Schema) -> bool:
    """A schema that every value fits."""
    return value is True or (isinstance(value, dict) and all(map(_annotates, value)))


def _any_name(value: Any, schema: Schema) -> bool:
    """A schema that every string fits, as all names are strings."""
    if not isinstance(value, dict) or "type" not in value:
        return _anything(value, schema)
    types = value["type"] if isinstance(value["type"], list) else [value["type"]]
    return "string" in types and all(name == "type" or _annotates(name) for name in value)


def _is(value: Any) -> Callable[[Any, Schema], bool]:
    return lambda given, _schema: type(given) is type(value) and given == value


def _without(*names: str) -> Callable[[Any, Schema], bool]:
    return lambda _value, schema: not schema.keys() & set(names)


def _one_item_at_most(value: Any, schema: Schema) -> bool:
    most = schema.get("maxItems")
    return value is False or (most is not None and is_of_type(most, "integer") and most <= 1)


def _every_integer(value: Any, schema: Schema) -> bool:
    return value == 1 and value is not True and schema.get("type") == "integer"


def _asks_for_nothing(value: Any, _schema: Schema) -> bool:
    """`dependentRequired` and its like, where no property brings a demand."""
    return isinstance(value, dict) and all(one in ([], {}, True) for one in value.values())


def _no_item_needed(_value: Any, schema: Schema) -> bool:
    return schema.get("minContains") == 0 and "maxContains" not in schema


_EXTENSION = "x-"
_ANNOTATION, _HELD, _UNKNOWN = (Keyword(role) for role in (Role.ANNOTATION, Role.HELD, Role.REFUSED))


def _refused(vacuous: Callable[[Any, Schema], bool] = _never, hint: str = "") -> Keyword:
    return Keyword(Role.REFUSED, vacuous, f"; {hint}" if hint else "")


KEYWORDS: Mapping[str, Keyword] = {
    # Core
    "$schema": _ANNOTATION,
    "$vocabulary": _ANNOTATION,
    "$id": _ANNOTATION,
    "id": _ANNOTATION,
    "$anchor": _ANNOTATION,
    "$dynamicAnchor": _ANNOTATION,
    "$recursiveAnchor": _ANNOTATION,
    "$comment": _ANNOTATION,
    "$defs": _ANNOTATION,
    "definitions": _ANNOTATION,
    "$ref": _HELD,
    "$dynamicRef": _refused(hint="write '$ref'"),
    "$recursiveRef": _refused(hint="write '$ref'"),
    # What a value is for
    "title": _ANNOTATION,
    "description": _ANNOTATION,
    "default": _ANNOTATION,
    "examples": _ANNOTATION,
    "example": _ANNOTATION,
    "deprecated": _ANNOTATION,
    "readOnly": _ANNOTATION,
    "writeOnly": _ANNOTATION,
    "externalDocs": _ANNOTATION,
    "xml": _ANNOTATION,
    # The schemas under `oneOf` assert, and it tells which of them to look at
    "discriminator": _ANNOTATION,
    # What is in a string; from 2019-09 on validators leave it alone
    "contentMediaType": _ANNOTATION,
    "contentEncoding": _ANNOTATION,
    "contentSchema": _ANNOTATION,
    # Any value
    "type": _HELD,
    "enum": _HELD,
    "const": _HELD,
    "nullable": _refused(_is(False), "write 'type': ['string', 'null']"),
    "anyOf": _HELD,
    "oneOf": _HELD,
    "allOf": _HELD,
    "not": _refused(_is(False), "say what a value is rather than what it is not"),
    "if": _refused(_without("then", "else"), "use anyOf with a 'const' property"),
    "then": _refused(_without("if"), "use anyOf with a 'const' property"),
    "else": _refused(_without("if"), "use anyOf with a 'const' property"),
    # Strings
    "minLength": _HELD,
    "maxLength": _HELD,
    "pattern": _HELD,
    "format": Keyword(Role.HELD, _is("password")),
    # Numbers
    "minimum": _HELD,
    "maximum": _HELD,
    "exclusiveMinimum": Keyword(Role.HELD, _is(False)),
    "exclusiveMaximum": Keyword(Role.HELD, _is(False)),
    "multipleOf": _refused(_every_integer, "leave it out, or use 'integer' or 'enum'"),
    # Lists
    "items": _HELD,
    "prefixItems": _HELD,
    "additionalItems": Keyword(Role.HELD, lambda _value, schema: not isinstance(schema.get("items"), list)),
    "unevaluatedItems": Keyword(Role.HELD, _anything),
    "minItems": _HELD,
    "maxItems": _HELD,
    "uniqueItems": _refused(_one_item_at_most, "leave it out and check the answer"),
    "contains": _refused(_no_item_needed, "leave it out and check the answer"),
    "minContains": _refused(lambda value, schema: "contains" not in schema or _no_item_needed(value, schema)),
    "maxContains": _refused(_without("contains")),
    # Objects
    "properties": _HELD,
    "required": _HELD,
    "additionalProperties": _HELD,
    "unevaluatedProperties": Keyword(Role.HELD, _anything),
    "patternProperties": Keyword(Role.HELD, _is({})),
    "propertyNames": Keyword(Role.HELD, _any_name),
    "minProperties": Keyword(Role.HELD, _is(0)),
    "maxProperties": _HELD,
    "dependentRequired": _refused(_asks_for_nothing, "name the properties that are always there in 'required'"),
    "dependentSchemas": _refused(_asks_for_nothing, "use anyOf with a 'const' property"),
    "dependencies": _refused(_asks_for_nothing, "name the properties that are always there in 'required'"),
}
"""By name. What begins with `x-` is an annotation too."""
