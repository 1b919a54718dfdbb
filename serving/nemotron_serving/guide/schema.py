"""JSON Schema to a grammar that generates some of its instances, and nothing else.

Every keyword is honoured, has no effect on what is generated, or is refused by name (see `keywords`): a finished
answer validates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nemotron_serving.errors import shortened
from nemotron_serving.guide import json_nodes
from nemotron_serving.guide.grammar import Grammar, GuideError, Node, Ref, choice
from nemotron_serving.guide.keywords import (
    Path,
    Schema,
    SchemaError,
    asserting,
    behind_references,
    disjoint,
    instances,
    is_of_type,
    kinds,
    resolve,
    types_of,
)
from nemotron_serving.guide.schema_scalars import NUMBER_KEYWORDS, STRING_KEYWORDS, Scalars, counts

_MAX_DEPTH = 64
_SOME = "a number of properties that leaves open which ones is not supported; put those that are needed into 'required'"
_MAX_ONE_OF = 24  # each is compared with each
_COMBINING = ("allOf", "anyOf", "oneOf")
_OTHERS = ("additionalProperties", "unevaluatedProperties")
_NAMES = ("propertyNames", "patternProperties")
_SIZES, _COUNTS = ("minProperties", "maxProperties"), ("minItems", "maxItems")
_TOLD_BY: Mapping[str, frozenset[str]] = {
    "object": frozenset(("properties", "required", *_OTHERS, *_NAMES, *_SIZES)),
    "array": frozenset(("items", "prefixItems", "additionalItems", "unevaluatedItems", *_COUNTS)),
    "string": STRING_KEYWORDS,
    "number": NUMBER_KEYWORDS,
}
"""Keywords that tell a schema's type where 'type' is missing."""
_Maker = Callable[[Schema, Path], Node]


def schema_node(grammar: Grammar, schema: Any) -> Node:
    """A node that generates instances of a schema.

    Args:
        grammar: Gets the rules.
        schema: Decoded JSON, which references with "#" are relative to.

    Raises:
        SchemaError: it is not valid, contradicts itself, or asks what is not supported.
    """
    return _Compiler(grammar, schema).compile()


class _Compiler:
    """Compiles a schema and what it refers to."""

    def __init__(self, grammar: Grammar, root: Any) -> None:
        self._grammar = grammar
        self._root = root
        self._depth = 0
        self._any: Ref | None = None
        self._rules: dict[str, Ref] = {}
        self._paths: dict[str, Path] = {}  # by rule, where what it stands for is referred to
        # Keywords that decide the whole schema; what may stand beside them is checked by each.
        self._alone: dict[str, _Maker] = {
            "$ref": self._reference,
            "allOf": self._all_of,
            "anyOf": self._any_of,
            "oneOf": self._one_of,
            "const": self._values,
            "enum": self._values,
        }
        self._scalars = scalars = Scalars(grammar)
        self._by_type: dict[str, _Maker] = {
            "object": self._object,
            "array": self._array,
            "string": scalars.string,
            "integer": scalars.integer,
            "number": scalars.number,
            "boolean": lambda _schema, _path: choice(json_nodes.literal(True), json_nodes.literal(False)),
            "null": lambda _schema, _path: json_nodes.literal(None),
        }

    def compile(self) -> Node:
        node = self._node(self._root, ())
        for names, reason in (
            (self._grammar.circular(self._paths), "refers to itself without anything around it"),
            (self._grammar.endless(), "needs itself without end; make what refers to it optional"),
        ):
            for name, path in self._paths.items():
                if name in names:
                    raise SchemaError(path, f"what '$ref' names {reason}")
        return node

    def _node(self, schema: Any, path: Path) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise SchemaError(path, f"nested more than {_MAX_DEPTH} levels deep")
        node = self._checked(schema, path)
        self._depth -= 1
        return node

    def _checked(self, schema: Any, path: Path) -> Node:
        if schema is True:
            return self._any_value()
        if schema is False:
            raise SchemaError(path, "false allows no value; leave it out")
        if not isinstance(schema, dict):
            raise SchemaError(path, f"{shortened(schema)} was given, expected a schema: an object or true")
        try:
            schema = asserting(schema)
        except GuideError as error:
            raise SchemaError(path, str(error)) from error
        for keyword, make in self._alone.items():
            if keyword in schema:
                return make(schema, path)
        try:
            names = types_of(schema)
        except GuideError as error:
            raise SchemaError((*path, "type"), str(error)) from error
        if names is None:
            # Instances of other types are valid too, but hardly what is meant.
            names = [name for name, keywords in _TOLD_BY.items() if schema.keys() & keywords]
        if not names:
            return self._any_value()
        return self._grammar.rule(choice(*(self._by_type[name](schema, path) for name in names)))

    def _any_value(self) -> Ref:
        if self._any is None:
            self._any = json_nodes.any_value(self._grammar)
        return self._any

    def _only_beside(self, keyword: str, schema: Schema, path: Path, *allowed: str) -> None:
        for other in schema:
            if other != keyword and other not in allowed:
                raise SchemaError(path, f"{other!r} beside {keyword!r} is not supported")

    def _reference(self, schema: Schema, path: Path) -> Node:
        self._only_beside("$ref", schema, path)
        name = schema["$ref"]
        try:
            target = resolve(self._root, name)
        except GuideError as error:
            raise SchemaError((*path, "$ref"), str(error)) from error
        if name not in self._rules:
            self._rules[name] = rule = self._grammar.declare()
            self._paths[rule.name] = path
            self._grammar.define(rule, self._node(target, tuple(name.split("/")[1:])))
        return self._rules[name]

    def _values(self, schema: Schema, path: Path) -> Node:
        keyword, values = self._listed(schema, path)
        try:
            names = types_of(schema)
        except GuideError as error:
            raise SchemaError((*path, "type"), str(error)) from error
        fitting = [value for value in values if names is None or any(is_of_type(value, name) for name in names)]
        if not fitting:
            raise SchemaError((*path, keyword), f"no value is of type {' or '.join(names or ())}")
        return choice(*(json_nodes.literal(value) for value in fitting))

    def _listed(self, schema: Schema, path: Path) -> tuple[str, list[Any]]:
        """The keyword that names the values, and they."""
        keyword = "const" if "const" in schema else "enum"
        self._only_beside(keyword, schema, path, "type")
        values = [schema["const"]] if keyword == "const" else schema["enum"]
        if not isinstance(values, list) or not values:
            raise SchemaError((*path, keyword), f"{shortened(values)} was given, expected a list of values")
        return keyword, values

    def _any_of(self, schema: Schema, path: Path) -> Node:
        return choice(*self._branches("anyOf", schema, path))

    def _one_of(self, schema: Schema, path: Path) -> Node:
        nodes = self._branches("oneOf", schema, path)
        branches = schema["oneOf"]
        if len(branches) > _MAX_ONE_OF:
            raise SchemaError((*path, "oneOf"), f"{len(branches)} schemas, expected at most {_MAX_ONE_OF}; use anyOf")
        known = [instances(branch, self._root) for branch in branches]
        for second in range(len(branches)):
            for first in range(second):
                if not disjoint(known[first], known[second]):
                    raise SchemaError(
                        (*path, "oneOf"),
                        f"a value might fit both {first} and {second}; use anyOf, or give each a 'const' property "
                        "of its own that is required",
                    )
        return choice(*nodes)

    def _all_of(self, schema: Schema, path: Path) -> Node:
        self._only_beside("allOf", schema, path)
        branches = schema["allOf"]
        if not isinstance(branches, list) or len(branches) != 1:
            raise SchemaError((*path, "allOf"), "only a list of one schema is supported; join them into one")
        return self._node(branches[0], (*path, "allOf", 0))

    def _branches(self, keyword: str, schema: Schema, path: Path) -> list[Node]:
        self._only_beside(keyword, schema, path, "type")
        branches = schema[keyword]
        if not isinstance(branches, list) or not branches:
            raise SchemaError((*path, keyword), f"{shortened(branches)} was given, expected a list of schemas")
        nodes: list[Node] = []
        for index, branch in enumerate(branches):
            at = (*path, keyword, index)
            if "type" in schema:
                allowed = kinds({"type": schema["type"]}, self._root)
                if isinstance(branch, dict) and not branch.keys() & {"type", "$ref", *_COMBINING}:
                    nodes.append(self._node(branch | {"type": schema["type"]}, at))
                    continue
                if not kinds(branch, self._root) <= allowed:
                    raise SchemaError(at, f"allows other types than the 'type' beside {keyword!r}")
            nodes.append(self._node(branch, at))
        return nodes

    def _object(self, schema: Schema, path: Path) -> Node:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise SchemaError((*path, "properties"), f"{shortened(properties)} was given, expected an object")
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaError((*path, "required"), f"{shortened(required)} was given, expected a list of names")
        if "properties" not in schema and not required:
            return self._map(schema, path)
        for keyword in _NAMES:
            if keyword in schema:
                raise SchemaError(path, f"{keyword!r} beside 'properties' or 'required' is not supported; leave it out")
        others, others_path = self._others(schema, path)
        always = set(required)
        undeclared = [name for name in dict.fromkeys(required) if name not in properties]
        if undeclared and others is False:
            raise SchemaError((*path, "required"), f"{undeclared[0]!r} is not among the properties")
        members = [
            (name, self._node(value, (*path, "properties", name)), name in always) for name, value in properties.items()
        ]
        members += [(name, self._node(others, others_path), True) for name in undeclared]
        return self._record(schema, path, members)

    def _others(self, schema: Schema, path: Path) -> tuple[Any, Path]:
        """The schema of properties that are not declared. Where no schemas are joined the two keywords are one."""
        keyword = next((name for name in _OTHERS if name in schema), _OTHERS[0])
        return schema.get(keyword, True), (*path, keyword)

    def _map(self, schema: Schema, path: Path) -> Node:
        """An object that has no properties of its own."""
        others, at = self._others(schema, path)
        name: list[str] | Node | None = None
        if "patternProperties" in schema:
            patterns, at = schema["patternProperties"], (*path, "patternProperties")
            if not isinstance(patterns, dict) or len(patterns) != 1 or "propertyNames" in schema:
                raise SchemaError(at, "only one pattern, without 'propertyNames', is supported; name the properties")
            ((pattern, others),) = patterns.items()
            name, at = self._scalars.string({"pattern": pattern}, at), (*at, pattern)
        elif others is False:
            return self._record(schema, path, [])
        elif "propertyNames" in schema:
            name = self._name(schema["propertyNames"], (*path, "propertyNames"))
        value = self._node(others, at)
        if isinstance(name, list):
            return self._record(schema, path, [(one, value, False) for one in name])
        low, high = counts(schema, path, *_SIZES)
        if low > 1:
            # A name may be generated twice.
            raise SchemaError((*path, "minProperties"), f"{low} was given, expected at most 1; name the properties")
        return json_nodes.mapping(self._grammar, value, name, low, high)

    def _name(self, schema: Any, path: Path) -> list[str] | Node:
        """The names that properties may have, or what generates one."""
        try:
            schema = behind_references(schema, self._root)
            schema = asserting(schema) if isinstance(schema, dict) else schema
        except GuideError as error:
            raise SchemaError(path, str(error)) from error
        if schema is True:
            return json_nodes.string(self._grammar)
        if not isinstance(schema, dict) or "string" not in kinds(schema, self._root):
            raise SchemaError(path, f"{shortened(schema)} was given, expected a schema of strings")
        if schema.keys() & {"const", "enum"}:
            _, values = self._listed(schema, path)
            return list(dict.fromkeys(value for value in values if isinstance(value, str)))
        if others := schema.keys() - {"type", *STRING_KEYWORDS}:
            raise SchemaError(path, f"{min(others)!r} is not supported for names")
        return self._scalars.string(schema, path)

    def _record(self, schema: Schema, path: Path, members: list[tuple[str, Node, bool]]) -> Node:
        """An object of these members: name, value and whether it is always there."""
        low, high = counts(schema, path, *_SIZES)
        always = sum(required for _, _, required in members)
        if low > len(members) or (high is not None and high < always):
            raise SchemaError(path, f"{always} to {len(members)} properties, which 'minProperties' or 'maxProperties' "
                                    "does not allow")  # fmt: skip
        if low == len(members):
            members = [(name, value, True) for name, value, _ in members]
        elif high == always:
            members = [member for member in members if member[-1]]
        elif low > max(always, 1) or (high is not None and high < len(members)):
            raise SchemaError(path, _SOME)
        return json_nodes.record(self._grammar, members, empty=not low)

    def _array(self, schema: Schema, path: Path) -> Node:
        low, high = counts(schema, path, *_COUNTS)
        # Before 2020-12 'items' has the first ones, and 'additionalItems' the others.
        old = isinstance(schema.get("items"), list)
        heads, others = ("items", "additionalItems") if old else ("prefixItems", "items")
        first = schema.get(heads, [])
        if not isinstance(first, list) or (old and "prefixItems" in schema):
            raise SchemaError((*path, "prefixItems"), f"{shortened(first)} was given, expected a list of schemas")
        if others not in schema and "unevaluatedItems" in schema:
            others = "unevaluatedItems"
        rest = schema.get(others, True)
        if rest is False or (first and others not in schema and low <= len(first)):
            high = len(first) if high is None else min(high, len(first))
        if high is not None and low > high:
            raise SchemaError((*path, "minItems"), f"{low} items, more than the {high} that are allowed")
        first = first[:high]
        nodes = [self._node(value, (*path, heads, index)) for index, value in enumerate(first)]
        more = None if high is None else high - len(first)
        item = self._node(rest, (*path, others)) if more != 0 else json_nodes.literal(None)
        return json_nodes.array(self._grammar, tuple(nodes), item, max(low - len(first), 0), more)
