"""JSON Schema to a grammar that generates some of its instances, and nothing else.

Every keyword is honoured, has no effect on what is generated, or is refused by name (see keywords.py): a finished
answer validates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from nemotron_serving.errors import shortened
from nemotron_serving.guide import json_text, numbers
from nemotron_serving.guide.formats import FORMATS, INTEGER_FORMATS
from nemotron_serving.guide.grammar import MAX_COUNT, Grammar, GuideError, Node, Ref, choice, lengths
from nemotron_serving.guide.keywords import asserting
from nemotron_serving.guide.regex import parse
from nemotron_serving.guide.schema_kinds import (
    Schema,
    behind_references,
    disjoint,
    instances,
    is_of_type,
    kinds,
    resolve,
    types_of,
)

_MAX_DEPTH = 64
_SOME = "a number of properties that leaves open which ones is not supported; put those that are needed into 'required'"
_MAX_DIGITS_OF_BOUNDS = 3000
_MAX_ONE_OF = 24  # each is compared with each


class SchemaError(GuideError):
    """A schema that cannot be honoured.

    Attributes:
        path: Where in the schema, as keys and indices.
    """

    def __init__(self, path: tuple[str | int, ...], reason: str) -> None:
        super().__init__(reason)
        self.path = path


Path = tuple["str | int", ...]


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
    def __init__(self, grammar: Grammar, root: Any) -> None:
        self._grammar = grammar
        self._root = root
        self._depth = 0
        self._any: Ref | None = None
        self._rules: dict[str, Ref] = {}
        self._contents: dict[tuple[str, str], tuple[Node, tuple[int, int | None]]] = {}
        self._numbers: dict[tuple[int | None, ...], Node] = {}
        self._digits = 0
        self._paths: dict[str, Path] = {}  # by rule, where what it stands for is referred to

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
        for keyword, method in _ALONE.items():
            if keyword in schema:
                return method(self, schema, path)
        try:
            names = types_of(schema)
        except GuideError as error:
            raise SchemaError((*path, "type"), str(error)) from error
        if names is None:
            # Instances of other types are valid too, but hardly what is meant.
            names = [name for name, (_, keywords) in _BY_TYPE.items() if schema.keys() & keywords]
        if not names:
            return self._any_value()
        return self._grammar.rule(choice(*(_BY_TYPE[name][0](self, schema, path) for name in names)))

    def _any_value(self) -> Ref:
        if self._any is None:
            self._any = json_text.any_value(self._grammar)
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
        return choice(*(json_text.literal(value) for value in fitting))

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
            name, at = self._string({"pattern": pattern}, at), (*at, pattern)
        elif others is False:
            return self._record(schema, path, [])
        elif "propertyNames" in schema:
            name = self._name(schema["propertyNames"], (*path, "propertyNames"))
        value = self._node(others, at)
        if isinstance(name, list):
            return self._record(schema, path, [(one, value, False) for one in name])
        low, high = self._counts(schema, path, *_SIZES)
        if low > 1:
            # A name may be generated twice.
            raise SchemaError((*path, "minProperties"), f"{low} was given, expected at most 1; name the properties")
        return json_text.mapping(self._grammar, value, name, low, high)

    def _name(self, schema: Any, path: Path) -> list[str] | Node:
        """The names that properties may have, or what generates one."""
        try:
            schema = behind_references(schema, self._root)
            schema = asserting(schema) if isinstance(schema, dict) else schema
        except GuideError as error:
            raise SchemaError(path, str(error)) from error
        if schema is True:
            return json_text.string(self._grammar)
        if not isinstance(schema, dict) or "string" not in kinds(schema, self._root):
            raise SchemaError(path, f"{shortened(schema)} was given, expected a schema of strings")
        if schema.keys() & {"const", "enum"}:
            _, values = self._listed(schema, path)
            return list(dict.fromkeys(value for value in values if isinstance(value, str)))
        if others := schema.keys() - {"type", *_TEXT}:
            raise SchemaError(path, f"{min(others)!r} is not supported for names")
        return self._string(schema, path)

    def _record(self, schema: Schema, path: Path, members: list[tuple[str, Node, bool]]) -> Node:
        """An object of these members: name, value and whether it is always there."""
        low, high = self._counts(schema, path, *_SIZES)
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
        return json_text.record(self._grammar, members, empty=not low)

    def _array(self, schema: Schema, path: Path) -> Node:
        low, high = self._counts(schema, path, "minItems", "maxItems")
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
        item = self._node(rest, (*path, others)) if more != 0 else json_text.literal(None)
        return json_text.array(self._grammar, tuple(nodes), item, max(low - len(first), 0), more)

    def _string(self, schema: Schema, path: Path) -> Node:
        low, high = self._counts(schema, path, "minLength", "maxLength")
        if "pattern" in schema and "format" in schema:
            raise SchemaError(path, "'pattern' beside 'format' is not supported")
        if "pattern" not in schema and "format" not in schema:
            return json_text.string(self._grammar, low, high)
        keyword = "pattern" if "pattern" in schema else "format"
        try:
            content, (shortest, longest) = self._content(keyword, schema[keyword])
        except GuideError as error:
            raise SchemaError((*path, keyword), str(error)) from error
        if low > shortest or (high is not None and (longest is None or longest > high)):
            raise SchemaError(
                path,
                f"the {keyword} allows lengths that 'minLength' or 'maxLength' does not; leave them out, or write the "
                "length into a pattern, as in ^[a-z]{2,9}$",
            )
        return content

    def _content(self, keyword: str, value: Any) -> tuple[Node, tuple[int, int | None]]:
        """The string of a pattern or a format, and fewest and most characters in it."""
        key = (keyword, value) if isinstance(value, str) else None
        if key is None or key not in self._contents:
            node = self._pattern(value) if keyword == "pattern" else self._format(value)
            self._contents[keyword, value] = self._grammar.rule(json_text.string_of(node)), lengths(node)
        return self._contents[keyword, value]

    def _pattern(self, pattern: Any) -> Node:
        if not isinstance(pattern, str):
            raise GuideError(f"{shortened(pattern)} was given, expected a pattern")
        return parse(pattern)

    def _format(self, name: Any) -> Node:
        if not isinstance(name, str) or name not in FORMATS:
            raise GuideError(f"{shortened(name)} is not supported, expected one of {', '.join(FORMATS)}")
        return FORMATS[name]

    def _integer(self, schema: Schema, path: Path) -> Node:
        lows = [math.ceil(value) for value in self._bounds(schema, path, "minimum")]
        lows += [math.floor(value) + 1 for value in self._bounds(schema, path, "exclusiveMinimum")]
        highs = [math.floor(value) for value in self._bounds(schema, path, "maximum")]
        highs += [math.ceil(value) - 1 for value in self._bounds(schema, path, "exclusiveMaximum")]
        least, most = INTEGER_FORMATS.get(str(schema.get("format")), (None, None))
        lows += [] if least is None else [least]
        highs += [] if most is None else [most]
        low, high = max(lows, default=None), min(highs, default=None)
        return self._number_node(path, (low, high), lambda: numbers.integer(low, high))

    def _number(self, schema: Schema, path: Path) -> Node:
        lows = [(bound, False) for bound in self._whole_bounds(schema, path, "minimum")]
        lows += [(bound, True) for bound in self._whole_bounds(schema, path, "exclusiveMinimum")]
        highs = [(bound, True) for bound in self._whole_bounds(schema, path, "maximum")]
        highs += [(bound, False) for bound in self._whole_bounds(schema, path, "exclusiveMaximum")]
        if not lows and not highs:
            return numbers.NUMBER
        low, above = max(lows, default=(None, False))
        high, within = min(highs, default=(None, True))
        bounds = (low, above, high, within)
        return self._number_node(path, bounds, lambda: numbers.number(low, high, above=above, below=not within))

    def _number_node(self, path: Path, bounds: tuple[int | None, ...], make: Callable[[], Node]) -> Node:
        """What lies within bounds: each pair of them once, for the time it takes grows with their digits."""
        try:
            if bounds not in self._numbers:
                self._digits += sum(len(str(abs(bound))) for bound in bounds if type(bound) is int)
                if self._digits > _MAX_DIGITS_OF_BOUNDS:
                    raise GuideError(
                        f"the different bounds of numbers have more than {_MAX_DIGITS_OF_BOUNDS} digits in all; use "
                        "fewer of them"
                    )
                self._numbers[bounds] = self._grammar.rule(make())
            return self._numbers[bounds]
        except GuideError as error:
            raise SchemaError(path, str(error)) from error

    def _bounds(self, schema: Schema, path: Path, keyword: str) -> list[int | float]:
        open_ = _OPEN.get(keyword)
        if keyword not in schema or (open_ and schema.get(open_) is True):
            return []
        value = schema[keyword]
        if value is True and keyword in _CLOSED:
            # OpenAPI 3.0 and draft-04: whether the bound itself is left out.
            keyword = _CLOSED[keyword]
            value = schema.get(keyword, value)
        if not is_of_type(value, "number"):
            raise SchemaError((*path, keyword), f"{shortened(value)} was given, expected a number")
        return [value]

    def _whole_bounds(self, schema: Schema, path: Path, keyword: str) -> list[int]:
        values = self._bounds(schema, path, keyword)
        for value in values:
            if value != int(value):
                raise SchemaError(
                    (*path, keyword), f"{value} was given, expected an integer; widen or narrow the bound to one"
                )
        return [int(value) for value in values]

    def _counts(self, schema: Schema, path: Path, low: str, high: str) -> tuple[int, int | None]:
        for keyword in (low, high):
            value = schema.get(keyword, 0)
            if not is_of_type(value, "integer") or value < 0:
                raise SchemaError((*path, keyword), f"{shortened(value)} was given, expected an integer from 0")
        least, most = int(schema.get(low, 0)), schema.get(high)
        if least > MAX_COUNT:
            raise SchemaError((*path, low), f"{least} was given, expected at most {MAX_COUNT}")
        if most is not None and least > most:
            raise SchemaError((*path, low), f"{least} is more than {high!r} {most}")
        return least, None if most is None else int(most)

    def _null(self, _schema: Schema, _path: Path) -> Node:
        return json_text.literal(None)

    def _boolean(self, _schema: Schema, _path: Path) -> Node:
        return choice(json_text.literal(True), json_text.literal(False))


_Method = Callable[[_Compiler, Schema, Path], Node]

# Keywords that decide the whole schema; what may stand beside them is checked by each.
_ALONE: Mapping[str, _Method] = {
    "$ref": _Compiler._reference,
    "allOf": _Compiler._all_of,
    "anyOf": _Compiler._any_of,
    "oneOf": _Compiler._one_of,
    "const": _Compiler._values,
    "enum": _Compiler._values,
}
_COMBINING = ("allOf", "anyOf", "oneOf")
_OTHERS = ("additionalProperties", "unevaluatedProperties")
_NAMES = ("propertyNames", "patternProperties")
_SIZES, _COUNTS = ("minProperties", "maxProperties"), ("minItems", "maxItems")
_TEXT = ("minLength", "maxLength", "pattern", "format")
_OPEN = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
_CLOSED = {open_: closed for closed, open_ in _OPEN.items()}

# How each type is generated, and the keywords that tell it where 'type' is missing.
_BY_TYPE: Mapping[str, tuple[_Method, set[str]]] = {
    "object": (_Compiler._object, {"properties", "required", *_OTHERS, *_NAMES, *_SIZES}),
    "array": (_Compiler._array, {"items", "prefixItems", "additionalItems", "unevaluatedItems", *_COUNTS}),
    "string": (_Compiler._string, set(_TEXT)),
    "integer": (_Compiler._integer, set()),
    "number": (_Compiler._number, {*_OPEN, *_CLOSED}),
    "boolean": (_Compiler._boolean, set()),
    "null": (_Compiler._null, set()),
}
