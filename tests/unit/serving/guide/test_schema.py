from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_specifications import REGISTRY as SPECIFICATIONS  # type: ignore[import-untyped]

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import response_guide
from nemotron_serving.guide.keywords import KEYWORDS, Role
from tests.unit.serving.guide.ebnf import Ebnf
from tests.unit.serving.guide.fifty_schemas import FIFTY_SCHEMAS
from tests.unit.serving.guide.schemas import OLDER, PERSON, SCHEMAS, VACUOUS, array, integer, number, record, string

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

FORMATS = jsonschema.FormatChecker(formats=["ipv4"])


@FORMATS.checks("date", ValueError)
def _date(value: Any) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@FORMATS.checks("time", ValueError)
def _time(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    clock, zone = re.fullmatch(r"(.{8}(?:\.\d{1,6})?)(Z|[+-]\d\d:\d\d)", value).groups()  # type: ignore[union-attr]
    time.fromisoformat(clock.partition(".")[0])
    return zone == "Z" or (int(zone[1:3]) < 24 and int(zone[4:]) < 60)


@FORMATS.checks("date-time", ValueError)
def _date_time(value: Any) -> bool:
    return not isinstance(value, str) or (bool(datetime.fromisoformat(value[:19])) and _time(value[11:]))


@FORMATS.checks("uuid")
@FORMATS.checks("email")
@FORMATS.checks("hostname")
def _by_form(value: Any) -> bool:
    return not isinstance(value, str) or bool(
        re.fullmatch(f"{_UUID}|{_HOST}|[A-Za-z0-9._+-]{{1,64}}@{_HOST}", value) and len(value) <= 254
    )


def guide_of(schema: Any) -> str:
    guide = response_guide(json.dumps({"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}))
    assert guide is not None
    return guide


def check(schema: Any, text: str) -> None:
    assert text.isprintable() or not re.search(r"[\x00-\x1f]", text), text
    jsonschema.Draft202012Validator(schema, format_checker=FORMATS).validate(json.loads(text))


def test_every_keyword_is_decided() -> None:
    """JSON Schema's own schemas name theirs; section 4.7.24 of OpenAPI 3.0 lists those of its Schema Object."""
    documents = [
        *(validator.META_SCHEMA for validator in (jsonschema.Draft4Validator, jsonschema.Draft7Validator)),
        *(
            SPECIFICATIONS[f"https://json-schema.org/draft/{draft}/meta/{name}"].contents
            for draft, names in (("2019-09", _PARTS), ("2020-12", (*_PARTS, "unevaluated", "format-annotation")))
            for name in names
            if f"https://json-schema.org/draft/{draft}/meta/{name}" in SPECIFICATIONS
        ),
    ]
    named = {keyword for document in documents for keyword in document["properties"]} | set(_OPENAPI)
    assert len(named) > 60
    assert named - KEYWORDS.keys() == set()


_PARTS = ("core", "applicator", "validation", "meta-data", "content")
_OPENAPI = (
    *("title", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength"),
    *("pattern", "maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties", "required", "enum", "type"),
    *("allOf", "oneOf", "anyOf", "not", "items", "properties", "additionalProperties", "description", "format"),
    *("default", "nullable", "discriminator", "readOnly", "writeOnly", "xml", "externalDocs", "example", "deprecated"),
)


def test_every_keyword_that_is_held_has_a_schema_here() -> None:
    shown = json.dumps([SCHEMAS, OLDER])
    held = [name for name, keyword in KEYWORDS.items() if keyword.role is Role.HELD]
    assert [name for name in held if f'"{name}"' not in shown] == []


def test_the_page_names_every_keyword() -> None:
    page = (Path(__file__).parents[4] / "docs" / "structured-answers.md").read_text(encoding="utf-8")
    assert [name for name in KEYWORDS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", VACUOUS)
def test_what_asserts_nothing_changes_nothing(name: str) -> None:
    schema = VACUOUS[name]
    asserted = {keyword: value for keyword, value in schema.items() if keyword in _OF_THE_REST}
    assert asserted != schema
    assert guide_of(schema) == guide_of(asserted)
    assert guide_of(record(a=schema)) == guide_of(record(a=asserted))


_OF_THE_REST = {"type", "oneOf", "maxItems", "maxLength", "properties", "additionalProperties"}


@pytest.mark.parametrize("name", OLDER)
def test_what_older_drafts_wrote_is_read_as_they_meant_it(name: str) -> None:
    schema = OLDER[name]
    draft = jsonschema.Draft4Validator if name.startswith("exclusive") else jsonschema.Draft7Validator
    draft.check_schema(schema)
    grammar = Ebnf(guide_of(schema))
    for seed in range(60):
        draft(schema).validate(json.loads(grammar.sample(random.Random(seed))))


@pytest.mark.parametrize("name", SCHEMAS | FIFTY_SCHEMAS)
def test_every_text_of_a_grammar_is_an_instance(name: str) -> None:
    schema = (SCHEMAS | FIFTY_SCHEMAS)[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    grammar = Ebnf(guide_of(schema))
    for seed in range(60):
        check(schema, grammar.sample(random.Random(seed), depth=seed))


Keep = Callable[[Any], bool]


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        (string(maxLength=40), lambda text: len(text) in (0, 40)),
        (string(minLength=17, maxLength=131), lambda text: len(text) in (17, 128)),
        (string(pattern="^a{5,99}$"), lambda text: len(text) in (5, 92)),
        (array(items={"type": "null"}, minItems=3, maxItems=77), lambda items: len(items) in (3, 74)),
    ],
)
def test_both_ends_of_a_count_are_reached(schema: Any, kept: Keep) -> None:
    grammar = Ebnf(guide_of(schema))
    ends = [json.loads(grammar.sample(random.Random(1), count=choose)) for choose in (min, max)]
    assert len(ends[0]) < len(ends[1])
    assert all(map(kept, ends))


@pytest.mark.parametrize("longest", [*range(1, 65), 71, 127, 1023])
def test_every_length_up_to_the_longest_can_be_written(longest: int) -> None:
    assert _lengths_up_to(longest) == set(range(longest + 1))


@pytest.mark.parametrize(("longest", "written"), [(65, 63), (70, 63), (100, 95), (4096, 4095), (10**6, 4095)])
def test_what_is_longer_may_end_a_little_earlier(longest: int, written: int) -> None:
    assert _lengths_up_to(longest) == set(range(written + 1))


def _lengths_up_to(longest: int) -> set[int]:
    grammar = Ebnf(guide_of(string(pattern=f"^a{{0,{longest}}}$")))
    return {length - 2 for length in _lengths(grammar, grammar.rules["root"])}


def _lengths(grammar: Ebnf, node: Any) -> set[int]:
    if node.kind == "text":
        return {len(node.text)}
    if node.kind == "rule":
        return _lengths(grammar, grammar.rules[node.text])
    inner = [_lengths(grammar, part) for part in node.parts]
    if node.kind == "choice":
        return set().union(*inner)
    if node.kind == "seq":
        total = {0}
        for lengths in inner:
            total = {left + right for left in total for right in lengths}
        return total
    found, reached = set(), {0}
    for times in range(node.high + 1):
        if times >= node.low:
            found |= reached
        reached = {left + right for left in reached for right in inner[0]}
    return found


@given(st.integers(-2000, 2000), st.integers(0, 2000), st.booleans(), st.booleans())
def test_integers_are_exactly_those_within_the_bounds(low: int, span: int, above: bool, below: bool) -> None:
    high = low + span + above + below
    schema = integer(
        **{"exclusiveMinimum" if above else "minimum": low, "exclusiveMaximum" if below else "maximum": high}
    )
    grammar = Ebnf(guide_of(schema))
    texts = _texts(grammar, grammar.rules["root"])
    assert sorted(texts, key=int) == [str(value) for value in range(low + above, high - below + 1)]


def _texts(grammar: Ebnf, node: Any) -> list[str]:
    if node.kind == "text":
        return [node.text]
    if node.kind == "chars":
        return [chr(code) for low, high in node.ranges for code in range(low, high + 1)]
    if node.kind == "rule":
        return _texts(grammar, grammar.rules[node.text])
    if node.kind == "choice":
        return [text for part in node.parts for text in _texts(grammar, part)]
    parts = [node.parts[0]] * node.low if node.kind == "repeat" else node.parts
    assert node.kind == "seq" or node.low == node.high
    texts = [""]
    for part in parts:
        texts = [left + right for left in texts for right in _texts(grammar, part)]
    return texts


@given(st.integers(-(10**11), 10**11), st.integers(0, 10**6), st.booleans(), st.booleans(), st.randoms())
def test_numbers_lie_within_the_bounds(low: int, span: int, above: bool, below: bool, rng: random.Random) -> None:
    high = low + span + 1
    schema = number(
        **{"exclusiveMinimum" if above else "minimum": low, "exclusiveMaximum" if below else "maximum": high}
    )
    grammar = Ebnf(guide_of(schema))
    for _ in range(20):
        check(schema, grammar.sample(rng, count=rng.randint))


def test_fractions_between_two_integers_are_generated() -> None:
    grammar = Ebnf(guide_of(number(exclusiveMinimum=0, exclusiveMaximum=1)))
    values = {grammar.sample(random.Random(seed)) for seed in range(50)}
    assert len(values) > 10
    assert all(value.startswith("0.") for value in values)


_LEAVES = st.sampled_from(
    [
        *(SCHEMAS[name] for name in ("string", "integer", "number", "boolean", "null", "nothing said", "nullable")),
        *(SCHEMAS[name] for name in ("both lengths", "pattern", "range", "probability", "enum", "date", "const")),
    ]
)


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "ä", 'quo"te', "with space"])
    properties = st.dictionaries(names, inner, max_size=4)
    counts = st.tuples(st.integers(0, 3), st.integers(0, 20))
    return st.one_of(
        st.builds(
            lambda properties, required, closed: {
                "type": "object",
                "properties": properties,
                "required": sorted(required & properties.keys()),
                **({"additionalProperties": False} if closed else {}),
            },
            properties,
            st.sets(names),
            st.booleans(),
        ),
        st.builds(lambda value: {"type": "object", "additionalProperties": value}, inner),
        st.builds(lambda item, c: array(items=item, minItems=c[0], maxItems=sum(c)), inner, counts),
        st.builds(lambda first: array(prefixItems=first), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda inner: {"$ref": "#/$defs/x", "$defs": {"x": inner}} if "$defs" not in str(inner) else inner, inner
        ),
    )


@given(st.recursive(_LEAVES, _composed, max_leaves=8), st.randoms())
def test_composed_schemas_generate_only_instances(schema: Any, rng: random.Random) -> None:
    if "$ref" in json.dumps(schema) and set(schema) != {"$ref", "$defs"}:
        # References are relative to the root.
        return
    grammar = Ebnf(guide_of(schema))
    for _ in range(5):
        check(schema, grammar.sample(rng, depth=30))


REFUSED = [
    (array(uniqueItems=True), "'uniqueItems' is not supported"),
    (record(a=array(uniqueItems=True)), ".properties.a: 'uniqueItems' is not supported"),
    *(
        ({"type": "object", keyword: {}}, f"schema: {keyword!r} is not supported")
        for keyword in ("not", "contains", "$dynamicRef", "$recursiveRef", "nullable", "maxLenght", "X-a")
    ),
    ({"if": {}, "then": {}}, "schema: 'if' is not supported; use anyOf"),
    (
        {"type": "object", "dependentRequired": {"a": ["b"]}},
        "'dependentRequired' is not supported; name the properties",
    ),
    (array(contains=True, minContains=2), "'contains' is not supported; leave it out"),
    (array(contains=True, minContains=0, maxContains=1), "'contains' is not supported"),
    (array(uniqueItems=True, maxItems=2), "'uniqueItems' is not supported; leave it out"),
    (number(multipleOf=1), "'multipleOf' is not supported"),
    ({**record(a=string()), "propertyNames": string(maxLength=1)}, "'propertyNames' beside 'properties'"),
    ({"type": "object", "propertyNames": integer()}, "schema.propertyNames: "),
    ({"propertyNames": {"enum": 5}}, "schema.propertyNames.enum: 5 was given, expected a list of values"),
    ({"type": "object", "propertyNames": {"anyOf": [string()]}}, "schema.propertyNames: 'anyOf' is not supported for"),
    ({"type": "object", "propertyNames": {"not": True}}, "schema.propertyNames: 'not' is not supported"),
    ({"type": "object", "patternProperties": {"a": True, "b": True}}, "schema.patternProperties: only one pattern"),
    ({"type": "object", "minProperties": 2}, "schema.minProperties: 2 was given, expected at most 1"),
    ({"type": "object", "minProperties": 2, "maxProperties": 1}, "schema.minProperties: 2 is more than"),
    ({**record(a=True), "minProperties": 2}, "schema: 0 to 1 properties, which 'minProperties' or"),
    ({**record(a=True, b=True, c=True), "minProperties": 2}, "a number of properties that leaves open which ones"),
    ({**record(a=True, b=True), "maxProperties": 1}, "a number of properties that leaves open which ones"),
    (integer(format="uint8", minimum=256), "no integer of at most 15 digits"),
    (number(exclusiveMinimum=True), "schema.minimum: True was given, expected a number"),
    (integer(multipleOf=5), "'multipleOf' is not supported"),
    (record(a={"nullable": True}), "write 'type': ['string', 'null']"),
    (False, "schema: false allows no value"),
    (5, "schema: 5 was given, expected a schema"),
    (record(a=False), ".properties.a: false"),
    ({"type": "text"}, "schema.type: 'text' was given, expected one or a list of object, "),
    ({"type": []}, "schema.type: [] was given"),
    ({"type": [["string"]]}, "schema.type: "),
    (string(minLength=5, maxLength=4), "schema.minLength: 5 is more than 'maxLength' 4"),
    (string(minLength=5000), "schema.minLength: 5000 was given, expected at most 4096"),
    (string(maxLength=-1), "schema.maxLength: -1 was given"),
    (string(maxLength="9"), "schema.maxLength: '9' was given"),
    (string(maxLength=True), "schema.maxLength: True was given"),
    (string(pattern="a", format="date"), "'pattern' beside 'format'"),
    (string(pattern="(?=a)"), "schema.pattern: lookahead '(?=' is not supported: at character 1"),
    (string(pattern="a*", maxLength=5), "the pattern allows lengths"),
    (string(format="date", minLength=11), "the format allows lengths"),
    (string(pattern=5), "schema.pattern: 5 was given"),
    (string(format="iri"), "schema.format: 'iri' is not supported, expected one of date, "),
    (array(minItems=3, maxItems=2), "schema.minItems: 3 is more than 'maxItems' 2"),
    (array(prefixItems=[True], items=False, minItems=2), "schema.minItems: 2 items, more than the 1"),
    (array(items=[string()], prefixItems=[string()]), "schema.prefixItems: "),
    (array(prefixItems={}), "schema.prefixItems: {} was given"),
    ({"enum": []}, "schema.enum: [] was given"),
    ({"type": "string", "enum": [1, 2]}, "schema.enum: no value is of type string"),
    ({"type": "string", "const": None}, "schema.const: no value is of type string"),
    ({"enum": ["a"], "minLength": 2}, "'minLength' beside 'enum' is not supported"),
    ({"$ref": "#/$defs/a", "$defs": {"a": True}, "minimum": 1}, "'minimum' beside '$ref'"),
    ({"anyOf": [True], "properties": {}}, "'properties' beside 'anyOf'"),
    ({"anyOf": []}, "schema.anyOf: [] was given"),
    ({"anyOf": [True, {"not": {}}]}, "schema.anyOf[1]: 'not' is not supported"),
    ({"type": "string", "anyOf": [integer()]}, "schema.anyOf[0]: allows other types"),
    ({"allOf": [PERSON, PERSON]}, "schema.allOf: only a list of one schema"),
    ({"oneOf": [string(), string(maxLength=3)]}, "schema.oneOf: a value might fit both 0 and 1; use anyOf"),
    ({"oneOf": [integer(), number()]}, "use anyOf"),
    ({"oneOf": [PERSON, record(name=string())]}, "use anyOf"),
    ({"oneOf": [{"const": 1}, {"enum": [1.0, 2]}]}, "use anyOf"),
    ({"oneOf": [record(k={"const": 1}), record(k={"const": 2})]}, "use anyOf"),
    ({"oneOf": [True, string()]}, "use anyOf"),
    ({"oneOf": [True, PERSON]}, "use anyOf"),
    ({"oneOf": [{"const": number} for number in range(65)]}, "schema.oneOf: 65 schemas, expected at most 24"),
    ({"$ref": "#/properties/a"}, "schema.$ref: '#/properties/a' was given, expected '#'"),
    ({"$ref": "#/$defs/a"}, "schema.$ref: '#/$defs/a' names no definition"),
    ({"$ref": 5}, "schema.$ref: 5 was given"),
    ({"$ref": "#"}, "refers to itself without anything around it"),
    ({"anyOf": [string(), {"$ref": "#"}]}, "anyOf[1]: what '$ref' names refers to itself"),
    ({**record(a={"$ref": "#"}), "required": ["a"]}, ".properties.a: what '$ref' names needs itself without end"),
    (
        {"anyOf": [string(), {"$ref": "#/$defs/a"}], "$defs": {"a": array(items={"$ref": "#/$defs/a"}, minItems=1)}},
        "needs itself without end",
    ),
    ({"type": "object", "properties": []}, "schema.properties: [] was given"),
    ({"type": "object", "required": "a"}, "schema.required: 'a' was given"),
    ({**record(a=True), "required": ["b"], "additionalProperties": False}, "schema.required: 'b' is not among"),
    (integer(minimum=5, maximum=4), "no integer of at most 15 digits lies within the bounds"),
    (integer(exclusiveMinimum=5, exclusiveMaximum=6), "no integer"),
    (integer(minimum=10**15), "no integer of at most 15 digits"),
    (integer(minimum="1"), "schema.minimum: '1' was given"),
    (number(minimum=0.5), "schema.minimum: 0.5 was given, expected an integer"),
    (number(minimum=2, maximum=1), "no number lies within"),
    (number(exclusiveMinimum=2, maximum=2), "no number lies within"),
    (number(minimum=10**16), "a bound has more than 15 digits"),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=str)
def test_what_cannot_be_honoured_is_refused_with_its_place(schema: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        guide_of(schema)
    assert str(caught.value).startswith("response_format: json_schema.schema")
    assert message in str(caught.value)


def nested(levels: int) -> Any:
    schema: Any = True
    for _ in range(levels):
        schema = array(items=schema)
    return schema


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (nested(100), "nested more than 64 levels deep"),
        (record(**{f"property_{number}": string() for number in range(700)}), "too large: "),
        (
            record(**{f"p{number}": string(maxLength=number) for number in range(10, 30)}),
            "too complex",
        ),
        (
            record(
                **{f"p{number}": integer(minimum=-number - 10**14, maximum=number + 10**14) for number in range(150)}
            ),
            r"properties\.p\d+: the different bounds of numbers have more than 3000 digits",
        ),
    ],
)
def test_what_would_take_long_to_compile_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        guide_of(schema)


def test_equal_parts_are_one_rule() -> None:
    many = guide_of(record(**{f"p{number}": string(maxLength=40) for number in range(40)}))
    assert many.count("{0,40}") == 1
    one = {"type": "string", "format": "date-time"}, integer(minimum=-(10**14), maximum=10**14)
    assert guide_of({"prefixItems": [*one] * 200, "items": False, "minItems": 400}).count('"Z"') == 1


def test_properties_keep_their_order() -> None:
    schema = {**record(z=integer(), a=integer(), m=integer()), "required": ["a", "z", "m"]}
    text = Ebnf(guide_of(schema)).sample(random.Random(1))
    assert re.fullmatch(r'\{"z": -?\d+, "a": -?\d+, "m": -?\d+\}', text)


def test_constants_that_no_float_can_hold_are_told_apart() -> None:
    assert guide_of({"oneOf": [{"const": 10**400}, {"const": 10**400 + 1}, {"const": 1}]})
    with pytest.raises(InvalidRequestError, match="a value might fit both 0 and 1"):
        guide_of({"oneOf": [{"const": 1}, {"const": 1.0}]})
