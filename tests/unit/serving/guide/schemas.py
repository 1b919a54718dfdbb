"""Schemas that can be honoured, one or more for each keyword, and patterns. The engine's tests use them too."""

from __future__ import annotations

from typing import Any

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
        }
    },
}
SHAPES = [
    {
        "type": "object",
        "properties": {"kind": {"const": kind}, **{name: {"type": "number"} for name in sizes}},
        "required": ["kind", *sizes],
    }
    for kind, sizes in (("circle", ("radius",)), ("box", ("width", "height")))
]
ORDER = {
    "type": "object",
    "title": "Order",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "customer": {"$ref": "#/$defs/customer"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "maxItems": 20},
        "state": {"enum": ["new", "paid", "shipped"]},
        "created": {"type": "string", "format": "date-time"},
        "note": {"type": ["string", "null"], "maxLength": 200},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["id", "customer", "lines", "state"],
    "additionalProperties": False,
    "$defs": {
        "customer": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 80},
                "email": {"type": "string", "format": "email"},
                "address": {"$ref": "#/$defs/address"},
            },
            "required": ["name"],
        },
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string"},
                "city": {"type": "string"},
                "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
            },
            "required": ["street", "city"],
        },
        "line": {
            "type": "object",
            "properties": {
                "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
                "quantity": {"type": "integer", "minimum": 1, "maximum": 99},
                "price": {"type": "number", "minimum": 0},
            },
            "required": ["sku", "quantity", "price"],
        },
    },
}


def string(**keywords: Any) -> dict[str, Any]:
    return {"type": "string", **keywords}


def integer(**keywords: Any) -> dict[str, Any]:
    return {"type": "integer", **keywords}


def number(**keywords: Any) -> dict[str, Any]:
    return {"type": "number", **keywords}


def array(**keywords: Any) -> dict[str, Any]:
    return {"type": "array", **keywords}


def record(**properties: Any) -> dict[str, Any]:
    """All properties are optional."""
    return {"type": "object", "properties": properties}


SCHEMAS: dict[str, Any] = {
    "anything": True,
    "nothing said": {},
    "only annotations": {"title": "a", "description": "b", "default": 1, "examples": [1], "deprecated": True},
    "string": string(),
    "integer": integer(),
    "number": number(),
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "object": {"type": "object"},
    "array": array(),
    "nullable": {"type": ["string", "null"]},
    "several types": {"type": ["integer", "number", "boolean", "object"]},
    "person": PERSON,
    "optional properties": record(a=string(), b=integer(), c={"type": "boolean"}),
    "some required": {**record(a=string(), b=integer(), c={"type": "null"}, d=number()), "required": ["b"]},
    "last required": {**record(a=string(), b=integer()), "required": ["b"]},
    "required, not declared": {**record(a=string()), "required": ["a", "other"]},
    "required, by the schema of others": {"type": "object", "required": ["x"], "additionalProperties": integer()},
    "no property": {"type": "object", "properties": {}, "additionalProperties": False},
    "nothing allowed": {"type": "object", "additionalProperties": False},
    "map": {"type": "object", "additionalProperties": integer(minimum=0)},
    "map of anything": {"type": "object", "additionalProperties": True},
    "properties without type": {"properties": {"a": integer()}, "required": ["a"]},
    "awkward names": record(**{'q"uo\\te': integer(), "é\n": string(), "": {"type": "null"}, "$ref": {"const": 1}}),
    "names of a list": {"type": "object", "propertyNames": {"enum": ["a", "b", 1]}, "additionalProperties": integer()},
    "names of a constant": {"propertyNames": {"const": "a"}, "minProperties": 1},
    "names by a reference": {
        "type": "object",
        "propertyNames": {"$ref": "#/$defs/n"},
        "$defs": {"n": {"type": "string", "enum": ["a", "b"], "title": "N"}},
    },
    "names by a pattern": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{1,9}$"},
        "additionalProperties": string(),
    },
    "names by a length": {"propertyNames": string(minLength=2, maxLength=4), "maxProperties": 3},
    "names that are texts": {"type": "object", "propertyNames": {"type": ["string", "null"]}},
    "no names": {"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": False},
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^[ab]{2}$": integer()},
        "additionalProperties": False,
    },
    "map of a bounded size": {"type": "object", "minProperties": 1, "maxProperties": 2},
    "map of nothing": {"type": "object", "maxProperties": 0},
    "one property at least": {**record(a=string(), b=integer()), "minProperties": 1},
    "all properties by their number": {**record(a=string(), b=integer()), "minProperties": 2, "maxProperties": 5},
    "required ones by their number": {**record(a=string(), b=integer()), "required": ["b"], "maxProperties": 1},
    "unevaluatedProperties": {**record(a=string()), "unevaluatedProperties": False},
    "unevaluatedProperties of a schema": {"type": "object", "unevaluatedProperties": integer()},
    "unevaluatedItems": array(prefixItems=[string()], unevaluatedItems=False, minItems=1),
    "integer of 32 bits": integer(format="int32"),
    "integer of 8 bits without a sign": integer(format="uint8", minimum=-5),
    "integer of 64 bits": integer(format="int64"),
    "items": array(items=integer()),
    "minItems": array(items={"type": "boolean"}, minItems=2),
    "maxItems": array(items={"type": "boolean"}, maxItems=3),
    "no items": array(items=string(), maxItems=0),
    "one item": array(items=string(), minItems=1, maxItems=1),
    "many items": array(items={"type": "null"}, minItems=30, maxItems=70),
    "prefixItems": array(prefixItems=[string(), integer()]),
    "prefixItems alone": array(prefixItems=[string(), integer()], items=False),
    "prefixItems and more": array(prefixItems=[string()], items={"type": "boolean"}, minItems=3, maxItems=5),
    "prefixItems, more needed": array(prefixItems=[string()], minItems=3),
    "prefixItems, fewer allowed": array(prefixItems=[string(), integer()], maxItems=1),
    "items false": array(items=False),
    "items without type": {"items": {"const": 5}, "minItems": 1},
    "minLength": string(minLength=3),
    "maxLength": string(maxLength=5),
    "both lengths": string(minLength=2, maxLength=40),
    "exact length": string(minLength=33, maxLength=33),
    "empty string": string(maxLength=0),
    "long": string(minLength=100, maxLength=100_000),
    "pattern": string(pattern="^[a-z]+-[0-9]{3}$"),
    "pattern not anchored": string(pattern="ab|cd+"),
    "pattern with quotes": string(pattern=r'^["\\\n]{2}[^a-z]\s\S.$'),
    "pattern and lengths": string(pattern="^[A-Z]{2,4}$", minLength=2, maxLength=8),
    "pattern without type": {"pattern": "^x*$"},
    "date": string(format="date"),
    "time": string(format="time"),
    "date-time": string(format="date-time"),
    "uuid": string(format="uuid"),
    "email": string(format="email"),
    "ipv4": string(format="ipv4"),
    "hostname": string(format="hostname"),
    "enum": {"enum": ["a", 1, 2.5, True, None, [1, "x"], {"k": "v"}, 'q"\\\n']},
    "enum with type": {"type": "string", "enum": ["a", "b", 3]},
    "enum of nullable": {"type": ["string", "null"], "enum": ["a", None]},
    "const": {"const": {"a": [1, 2, "éa\x7f0"]}},
    "const with type": {"type": "integer", "const": 3},
    "minimum": integer(minimum=17),
    "maximum": integer(maximum=-5),
    "range": integer(minimum=-120, maximum=1305),
    "exclusive": integer(exclusiveMinimum=9, exclusiveMaximum=11),
    "fractional bounds": integer(minimum=0.5, maximum=2.5),
    "both kinds of bounds": integer(minimum=3, exclusiveMinimum=3, maximum=12, exclusiveMaximum=20),
    "number from 0": number(minimum=0),
    "probability": number(minimum=0, maximum=1),
    "open interval": number(exclusiveMinimum=0, exclusiveMaximum=1),
    "number below": number(exclusiveMaximum=-99),
    "number around 0": number(minimum=-2, exclusiveMaximum=3),
    "large bounds": number(exclusiveMinimum=999_999_999, maximum=99_999_999_999),
    "bounds without type": {"minimum": 0, "maximum": 9},
    "anyOf": {"anyOf": [string(maxLength=3), integer(), PERSON]},
    "anyOf with type": {"type": "string", "anyOf": [{"enum": ["a"]}, {"pattern": "^b+$"}]},
    "anyOf within types": {"type": ["string", "integer"], "anyOf": [string(), integer()]},
    "oneOf of types": {"oneOf": [string(), integer(), {"type": "null"}, array(items=integer())]},
    "oneOf of constants": {"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}, {"const": 1}, {"const": True}]},
    "oneOf by a property": {"oneOf": SHAPES},
    "oneOf of references": {
        "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {"a": SHAPES[0], "b": SHAPES[1]},
    },
    "allOf of one": {"allOf": [PERSON], "description": "as pydantic 1 writes it"},
    "reference": {"$ref": "#/definitions/p", "definitions": {"p": PERSON}},
    "reference by an escaped name": {"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": integer()}},
    "tree": TREE,
    "list of itself": array(items={"$ref": "#"}, maxItems=2),
    "itself or a text": {"anyOf": [string(), record(inner={"$ref": "#"})]},
    "two that need each other": {
        "$ref": "#/$defs/a",
        "$defs": {
            "a": record(b={"$ref": "#/$defs/b"}),
            "b": {**record(a={"$ref": "#/$defs/a"}), "required": ["a"]},
        },
    },
    "order": ORDER,
    "fifty properties": record(**{f"property_{number}": string() for number in range(50)}),
}

OLDER: dict[str, Any] = {
    "exclusiveMinimum": integer(minimum=0, exclusiveMinimum=True, maximum=2, exclusiveMaximum=False),
    "exclusiveMaximum": number(minimum=0, maximum=1, exclusiveMaximum=True),
    "items": array(items=[string(), integer()]),
    "additionalItems": array(items=[string()], additionalItems={"type": "boolean"}, minItems=3, maxItems=4),
    "additionalItems false": array(items=[string(), integer()], additionalItems=False, minItems=2),
    "additionalItems without items": array(additionalItems=False, maxItems=2),
}
"""As drafts before 2020-12 write it: valid there."""

VACUOUS: dict[str, Any] = {
    "discriminator": {"oneOf": SHAPES, "discriminator": {"propertyName": "kind", "mapping": {"box": "#/$defs/B"}}},
    "example": {"type": "boolean", "example": True},
    "extension": {"type": "boolean", "x-order": 1, "x-": {"type": "integer"}},
    "names of the place": {"$id": "https://a.example/b", "$anchor": "a", "$dynamicAnchor": "b", "$comment": "c"},
    "OpenAPI": {"type": "boolean", "xml": {"name": "a"}, "externalDocs": {"url": "https://a.example"}},
    "content": string(maxLength=5, contentMediaType="text/plain", contentEncoding="base64", contentSchema=True),
    "uniqueItems": array(uniqueItems=False, maxItems=2),
    "uniqueItems of one": array(uniqueItems=True, maxItems=1),
    "contains": array(contains={"const": 1}, minContains=0, maxItems=2),
    "contains, counted alone": array(minContains=3, maxContains=1, maxItems=2),
    "minProperties": {"type": "object", "minProperties": 0},
    "propertyNames": {"type": "object", "propertyNames": string(title="a"), "additionalProperties": {"type": "null"}},
    "propertyNames true": {**record(a=string()), "propertyNames": True},
    "patternProperties": {**record(a=string()), "patternProperties": {}},
    "unevaluated": {**record(a=string()), "unevaluatedProperties": {}, "unevaluatedItems": True},
    "dependent": {
        **record(a=string()),
        "dependentRequired": {"a": []},
        "dependentSchemas": {"a": True},
        "dependencies": {},
    },
    "not": {"not": False, "type": "null"},
    "if": {"if": {"const": 1}, "type": "null"},
    "then and else": {"then": False, "else": False, "type": "null"},
    "nullable": string(nullable=False),
    "multipleOf": integer(multipleOf=1),
    "password": string(format="password"),
}
"""What asserts nothing beside what is held."""

PATTERNS = [
    "abc",
    "",
    "a|b|",
    "^(yes|no)$",
    "^yes$|^no$",
    "(?:(?P<y>\\d{4})-(\\d\\d))",
    "(?<name>a)+",
    "[a-fA-F0-9]{2,40}",
    "[^a-z\\s]{5}",
    "[^\\d\\w]",
    "[\\d\\-x]",
    "[a-]b[-a][\\]\\[^]",
    "\\d+\\.\\d*?",
    "\\D\\W\\S\\w\\s",
    "a{3}b{2,}c{0,2}",
    "a+?b??c*?",
    "x{0}y",
    ".{1,3}",
    "\\x41\\u00e9\\n\\t\\/\\.\\*\\$\\^\\|\\(",
    "((a|b)(c|(d|e)*))+",
    "(a+b?,)*",
    "^.*foo.*$",
    "\\{.*\\}",
    "a{70}",
    "(ab){20,300}",
    "日本[語人]",
    "[^0-9]{3}[^A-F]{3}[\\s0-9a]{4}[一-龥x]{2}[a-zé]{3}[^\\^]",
    "éa1\\tb[é0-9][\\^é][\\^-a]\\^[\\^]",
    "^(a|^b)(c|d$)$",
    "(?:^a)",
]
