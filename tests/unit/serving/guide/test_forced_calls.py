from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import tool_guide
from tests.unit.serving.guide.ebnf import Ebnf
from tests.unit.serving.guide.schemas import ORDER, PERSON, TREE, record, string

TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {**record(city=string(), unit={"enum": ["C", "F"]}), "required": ["city"]}),
    ("now", {"type": "object", "properties": {}}),
    ("save", ORDER),
    ("grow", {**TREE, "description": "refers to its own definitions"}),
    ("anything", {}),
    ('quo"te', {"properties": {"x": {"type": "integer"}}}),
    ("reply", {"anyOf": [PERSON, record(error=string())]}),
]


def guide(*tools: tuple[str, Any], single: bool = False) -> str:
    """The grammar for these tools, whose schemas are passed on as JSON."""
    return tool_guide(
        tuple((name, json.dumps(schema)) for name, schema in tools), "<TOOLCALL>", "</TOOLCALL>", single=single
    )


def calls(grammar: Ebnf, seed: int) -> list[dict[str, Any]]:
    text = grammar.sample(random.Random(seed), depth=seed)
    assert text.startswith("<TOOLCALL>[")
    assert text.endswith("]</TOOLCALL>")
    found: list[dict[str, Any]] = json.loads(text.removeprefix("<TOOLCALL>").removesuffix("</TOOLCALL>"))
    return found


@pytest.mark.parametrize("single", [True, False])
def test_calls_have_a_known_name_and_arguments_by_its_schema(single: bool) -> None:
    grammar = Ebnf(guide(*TOOLS, single=single))
    seen, most = set(), 0
    for seed in range(150):
        found = calls(grammar, seed)
        most = max(most, len(found))
        for call in found:
            assert list(call) == ["name", "arguments"]
            assert isinstance(call["arguments"], dict)
            jsonschema.Draft202012Validator(dict(TOOLS)[call["name"]]).validate(call["arguments"])
            seen.add(call["name"])
    assert seen == {name for name, _ in TOOLS}
    assert (most == 1) == single


def test_a_tool_without_parameters_is_called_with_nothing() -> None:
    grammar = Ebnf(guide(("now", {"type": "object", "properties": {}}), single=True))
    assert calls(grammar, 1) == [{"name": "now", "arguments": {}}]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (record(a={"not": {}}), "tools[0].function.parameters.properties.a: 'not' is not supported"),
        ({"type": "array"}, "tools[0].function.parameters: arguments are an object"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "tools[0].function.parameters: arguments are an"),
        ({"anyOf": [string()]}, "tools[0].function.parameters.anyOf[0]: allows other types"),
        (record(**{f"p{number}": string(maxLength=number) for number in range(10, 30)}), "too complex"),
    ],
)
def test_parameters_that_cannot_be_honoured_are_refused_with_their_place(parameters: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        guide(("bad", parameters))
    assert str(caught.value).startswith("tools: ")
    assert message in str(caught.value)


def test_one_tool_whose_arguments_cannot_be_held_may_be_called_with_any_object() -> None:
    grammar = Ebnf(guide(TOOLS[0], ("bad", record(a={"not": {}})), ("worse", {"type": "array"})))
    seen: dict[str, list[Any]] = {}
    for seed in range(150):
        for call in calls(grammar, seed):
            assert isinstance(call["arguments"], dict)
            seen.setdefault(call["name"], []).append(call["arguments"])
    assert seen.keys() == {"get_weather", "bad", "worse"}
    for arguments in seen["get_weather"]:
        jsonschema.Draft202012Validator(TOOLS[0][1]).validate(arguments)
    assert any(arguments.keys() - {"a"} for arguments in seen["bad"])


@pytest.mark.parametrize("parameters", ["{", "3", "[]", "null", '{"a": 1', "[" * 100_000])
def test_parameters_that_are_no_schema_are_refused(parameters: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^tools: "):
        tool_guide((("f", parameters),), "<a>", "</a>", single=False)


def test_what_is_too_much_or_nothing_is_refused() -> None:
    long = record(a={"description": "x" * 33_000})
    with pytest.raises(InvalidRequestError, match=r"^tools: \d+ bytes were given, a form may have 32768"):
        guide(("f", long))
    one = (("f", "{}"),)
    for tools, open_tag, close_tag in (((), "<a>", "</a>"), (one, "", "</a>"), (one, "<a>", "")):
        with pytest.raises(InvalidRequestError, match=r"^tools: "):
            tool_guide(tools, open_tag, close_tag, single=False)
