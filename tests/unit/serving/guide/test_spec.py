from __future__ import annotations

import contextlib
import json
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import response_guide, stock_guide
from nemotron_serving.guide.keywords import KEYWORDS
from tests.unit.serving.guide.ebnf import Ebnf
from tests.unit.serving.guide.schemas import PERSON


def depth(value: Any) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def test_text_is_free() -> None:
    assert response_guide('{"type": "text"}') is None


@pytest.mark.parametrize("guide", [response_guide('{"type": "json_object"}'), stock_guide("json", "")])
def test_a_json_object_is_an_object_of_bounded_depth(guide: str) -> None:
    grammar = Ebnf(guide)
    values = [json.loads(grammar.sample(random.Random(seed), depth=99)) for seed in range(200)]
    assert all(isinstance(value, dict) for value in values)
    assert 3 <= max(map(depth, values)) <= 6
    assert {} in values


def test_the_schema_may_stand_at_either_place() -> None:
    nested = response_guide(json.dumps({"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}))
    direct = response_guide(json.dumps({"type": "json_schema", "schema": PERSON, "strict": True}))
    assert nested == direct == stock_guide("json_schema", json.dumps(PERSON))


def test_a_choice_is_one_of_the_texts() -> None:
    texts = ["yes", "no", 'a "quoted"\n\\ one', "naïve 日本"]
    grammar = Ebnf(str(response_guide(json.dumps({"type": "choice", "choice": [*texts, "yes"]}))))
    assert {grammar.sample(random.Random(seed)) for seed in range(99)} == set(texts)


def test_nothing_is_asked_of_nvidias_inputs() -> None:
    assert stock_guide("", "") is None


def test_nvidias_regex() -> None:
    assert stock_guide("regex", "a+") == response_guide('{"type": "regex", "regex": "a+"}')


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 9999, "not valid JSON"),
        ("[]", "expected an object whose type is one of"),
        ("{}", "expected an object whose type is one of"),
        ('{"type": "json"}', "expected an object whose type is one of"),
        ('{"type": []}', "expected an object whose type is one of"),
        ('{"type": "text", "schema": {}}', "'schema' is no part of the type 'text'"),
        ('{"type": "json_schema"}', "a json_schema needs"),
        ('{"type": "json_schema", "json_schema": {"name": "a"}}', "a json_schema needs"),
        ('{"type": "json_schema", "json_schema": {"schema": {}, "scheme": 1}}', "json_schema: 'scheme' is no part"),
        ('{"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}', "json_schema.schema.type: 'x' was given"),
        ('{"type": "json_schema", "schema": {"type": "x"}}', "response_format: schema.type: 'x' was given"),
        ('{"type": "regex"}', "a regex needs"),
        ('{"type": "regex", "regex": "("}', "regex: '(' without ')' at character 1"),
        ('{"type": "choice"}', "a choice needs"),
        ('{"type": "choice", "choice": []}', "with 1 to 1000 texts"),
        ('{"type": "choice", "choice": ["a", ""]}', "choice[1]: expected a text that is not empty"),
        ('{"type": "choice", "choice": [1]}', "choice[0]: expected a text"),
        ('{"type": "choice", "choice": ["\\u0000"]}', "choice[0]: expected a text"),
        ('{"type": "choice", "choice": ["\\ud800 "]}', "not valid JSON"),
        (json.dumps({"type": "choice", "choice": ["é" * 9000]}, ensure_ascii=False), "too large"),
        (" " * 40_000, "40000 bytes were given, a form may have 32768"),
        (
            '{"type": "json_schema", "schema": {"const": ' + "9" * 5000 + "}}",
            "not valid JSON: Integer value out of range",
        ),
    ],
)
def test_what_is_wrong_is_refused(response_format: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        response_guide(response_format)
    assert str(caught.value).startswith("response_format: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("guide_type", "guide", "message"),
    [
        (
            "ebnf_grammar",
            'root ::= "a"',
            "guided_decoding_guide_type: ebnf_grammar is not supported: it cannot be checked",
        ),
        ("structural_tag", "{}", "guided_decoding_guide_type: structural_tag is not supported"),
        ("yaml", "", "guided_decoding_guide_type: 'yaml' was given, expected one of json, json_schema, regex"),
        ("", "a", "guided_decoding_guide_type: missing"),
        ("json_schema", "", "guided_decoding_guide: not valid JSON"),
        ("json_schema", '{"properties": {"a": {"not": {}}}}', "guided_decoding_guide: schema.properties.a: 'not'"),
        ("regex", "(", "guided_decoding_guide: regex: '('"),
    ],
)
def test_what_is_wrong_in_nvidias_inputs_is_refused(guide_type: str, guide: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        stock_guide(guide_type, guide)
    assert str(caught.value).startswith(message)


_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.sampled_from(["string", "#"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*sorted(KEYWORDS), "a"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_whatever_is_sent_the_error_is_the_callers(schema: Any) -> None:
    try:
        guide = response_guide(json.dumps({"type": "json_schema", "schema": schema}))
    except InvalidRequestError:
        return
    assert guide is not None
    Ebnf(guide).sample(random.Random(1))


def _chain(length: int) -> Any:
    return {
        "$ref": "#/$defs/0",
        "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(length)} | {str(length): True},
    }


@pytest.mark.parametrize(
    "schema",
    [
        _chain(900),
        {"enum": list(range(5000))},
        {"oneOf": [{"const": number} for number in range(64)]},
        {"oneOf": [{"enum": list(range(number, 3000, 64))} for number in range(2)]},
        {"properties": {str(number): True for number in range(2400)}},
        {
            "properties": {str(number): True for number in range(1500)},
            "required": [str(number) for number in range(1500)],
        },
        {"anyOf": [{"type": "string", "pattern": "[" + "ac" * 400 + "]"} for _ in range(30)]},
        {
            "anyOf": [
                {"type": "string", "pattern": "((((((((a{1,2}b){1,2}c){1,2}d){1,2}e){1,2}" + ")" * 3}
                for _ in range(400)
            ]
        },
        {"type": "integer", "minimum": int("-" + "9" * 4000)},
        {"const": int("9" * 4000)},
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_large_input_is_read_or_refused_quickly(schema: Any) -> None:
    text = json.dumps({"type": "json_schema", "schema": schema})
    assert len(text) <= 32 * 1024
    begin = time.thread_time()
    with contextlib.suppress(InvalidRequestError):
        response_guide(text)
    assert time.thread_time() - begin < 5
