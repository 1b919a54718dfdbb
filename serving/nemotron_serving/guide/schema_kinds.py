"""What can be said of a JSON Schema without generating: its types, whether two can share an instance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from nemotron_serving.guide.grammar import GuideError

Schema: TypeAlias = "Mapping[str, Any]"

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")

_ALL_KINDS = frozenset(TYPES) - {"integer"}
_MAX_REFERENCES = 16


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
