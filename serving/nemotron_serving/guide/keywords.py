"""What the keywords of a schema say: what becomes of each here, its types, and whether two can share an instance.

All keywords from JSON Schema draft-04 to 2020-12, and of the Schema Object of OpenAPI 3.0. A keyword says nothing about
values (an annotation), is held by the grammar, or is refused by name, except where the value that it has asserts
nothing. Nothing is generated here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from nemotron_serving.guide.grammar import GuideError

Schema: TypeAlias = "Mapping[str, Any]"
Path = tuple["str | int", ...]
"""Where in a schema, as keys and indices."""

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")

_ALL_KINDS = frozenset(TYPES) - {"integer"}
_MAX_REFERENCES = 16


class SchemaError(GuideError):
    """A schema that cannot be honoured.

    Attributes:
        path: The place in the schema.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


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


def types_of(schema: Schema) -> list[str] | None:
    """The types that 'type' names, each once; None where it is missing.

    Raises:
        GuideError: 'type' is something else.
    """
    if "type" not in schema:
        return None
    given = schema["type"]
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(name in TYPES for name in names):
        raise GuideError(f"{given!r} was given, expected one or a list of {', '.join(TYPES)}")
    if "number" in names:
        names = [name for name in names if name != "integer"]
    return list(dict.fromkeys(names))


def is_of_type(value: Any, name: str) -> bool:
    """Whether a decoded JSON value is of a JSON Schema type; 1.0 is an integer."""
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _CLASSES[name])


_CLASSES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def resolve(root: Any, reference: Any) -> Any:
    """What a '$ref' stands for.

    Raises:
        GuideError: it names nothing, or something outside the definitions.
    """
    if reference == "#":
        return root
    parts = reference.split("/") if isinstance(reference, str) else []
    if len(parts) != 3 or parts[:2] not in (["#", "$defs"], ["#", "definitions"]):
        raise GuideError(f"{reference!r} was given, expected '#', '#/$defs/NAME' or '#/definitions/NAME'")
    name = parts[2].replace("~1", "/").replace("~0", "~")
    definitions = root.get(parts[1]) if isinstance(root, dict) else None
    if not isinstance(definitions, dict) or name not in definitions:
        raise GuideError(f"{reference!r} names no definition")
    return definitions[name]


def behind_references(schema: Any, root: Any) -> Any:
    """What a chain of references leads to; true, which says nothing, where it has no end in sight.

    Raises:
        GuideError: see `resolve`.
    """
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, dict) or "$ref" not in schema:
            return schema
        schema = resolve(root, schema["$ref"])
    return True


def kinds(schema: Any, root: Any) -> frozenset[str]:
    """Types that instances can have, integers counted as numbers: possibly too many, never too few."""
    schema = behind_references(schema, root)
    if not isinstance(schema, dict):
        return _ALL_KINDS
    found = _ALL_KINDS
    if (names := types_of(schema)) is not None:
        found = frozenset("number" if name == "integer" else name for name in names)
    if (values := _values(schema)) is not None:
        found &= frozenset(kind for kind in _ALL_KINDS for value in values if is_of_type(value, kind))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(keyword), list) and not _recursive(branches):
            found &= frozenset().union(*(kinds(branch, root) for branch in branches))
    return found


class Instances(NamedTuple):
    """What is known of a schema's instances without looking at one.

    Attributes:
        kinds: See `kinds`.
        values: Keys of all the values there are; None where they are not listed.
        properties: The same of properties that every object has, where they are listed.
    """

    kinds: frozenset[str]
    values: frozenset[str] | None
    properties: dict[str, frozenset[str]]


def instances(schema: Any, root: Any) -> Instances:
    """What is known of a schema's instances."""
    properties = {name: _keys(value, root) for name, value in _required_properties(schema, root).items()}
    listed = {name: keys for name, keys in properties.items() if keys is not None}
    return Instances(kinds(schema, root), _keys(schema, root), listed)


def disjoint(first: Instances, second: Instances) -> bool:
    """Whether certainly no value is an instance of both."""
    shared = first.kinds & second.kinds
    if not shared or _different(first.values, second.values):
        return True
    if shared != {"object"}:
        return False
    names = first.properties.keys() & second.properties.keys()
    return any(_different(first.properties[name], second.properties[name]) for name in names)


def _recursive(branches: list[Any]) -> bool:
    """Whether a branch refers elsewhere, from where it could come back here."""
    return any(isinstance(branch, dict) and branch.keys() & {"$ref", "anyOf", "oneOf"} for branch in branches)


def _values(schema: Any) -> list[Any] | None:
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _keys(schema: Any, root: Any) -> frozenset[str] | None:
    values = _values(behind_references(schema, root))
    return None if values is None else frozenset(map(_key, values))


def _different(first: frozenset[str] | None, second: frozenset[str] | None) -> bool:
    return first is not None and second is not None and first.isdisjoint(second)


def _key(value: Any) -> str:
    """Equal for equal JSON values; lists and objects are all taken for equal."""
    if isinstance(value, (list, dict)):
        return type(value).__name__
    return json.dumps(int(value) if is_of_type(value, "integer") else value)


def _required_properties(schema: Any, root: Any) -> dict[str, Any]:
    schema = behind_references(schema, root)
    if not isinstance(schema, dict):
        return {}
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    names = {name for name in required if isinstance(name, str)}
    return {name: value for name, value in properties.items() if name in names}
