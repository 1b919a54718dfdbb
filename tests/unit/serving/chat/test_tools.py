from __future__ import annotations

import json
from typing import Any

import pytest

from nemotron_serving.chat.tools import Tool, ToolChoice, parse_tool_choice, parse_tools
from nemotron_serving.errors import InvalidRequestError

F = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "more": 1}}
G = {"type": "function", "function": {"name": "g"}}
TOOLS = (Tool("f", {"name": "f"}), Tool("g", {"name": "g"}))


def test_tools_keep_what_was_sent() -> None:
    assert parse_tools(json.dumps([F, G])) == (Tool("f", F["function"]), Tool("g", G["function"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", " ", "[]", "null"])
def test_no_tools(value: str) -> None:
    assert parse_tools(value) == ()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return {"type": "function", "function": {"name": "f", "parameters": value}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (F, "tools: Expected `array"),
        ([{"type": "function"}], r"tools: Object missing required field `function` - at `\$\[0\]`"),
        ([F | {"type": "retrieval"}], "tools: Invalid enum value 'retrieval'"),
        ([F | {"colour": "red"}], "tools: Object contains unknown field `colour`"),
        ([F, {"type": "function", "function": {}}], r"tools\[1\].function: Object missing required field `name`"),
        ([{"type": "function", "function": {"name": ""}}], r"tools\[0\].function.name: empty"),
        ([{"type": "function", "function": {"name": 5}}], r"tools\[0\].function: Expected `str`, got `int`"),
        (
            [{"type": "function", "function": {"name": "f", "parameters": []}}],
            r"tools\[0\].function: Expected `object \| null`, got `array` - at `\$.parameters`",
        ),
        ([F, G, F], r"tools\[2\].function.name: 'f' was given twice"),
        ([nested(62)], None),
        ([nested(100)], r"tools\[0\].function: nested too deeply, expected at most 64 levels"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_refusals_of_tools(value: Any, message: str | None) -> None:
    if message is None:
        assert len(parse_tools(json.dumps(value))) == 1
        return
    with pytest.raises(InvalidRequestError, match="^" + message):
        parse_tools(json.dumps(value))


@pytest.mark.parametrize("value", ["nope", "[", "[{'type': 'function'}]", "[" * 100_000, '["\\ud800"]'])
def test_tools_that_are_not_json(value: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^tools: (not valid JSON|Expected `object`)"):
        parse_tools(value)


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("", ToolChoice("auto")),
        ("null", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ('"none"', ToolChoice("none")),
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        (' "required" ', ToolChoice("required")),
        ('{"type": "function", "function": {"name": "g"}}', ToolChoice("required", "g")),
    ],
)
def test_tool_choice(value: str, choice: ToolChoice) -> None:
    assert parse_tool_choice(value, TOOLS) == choice


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("always", "not valid JSON"),
        ('"always"', "Invalid enum value 'always'"),
        ("5", "Expected `str | object | null`, got `int`"),
        ("{}", "Object missing required field"),
        ('{"type": "function", "function": {"name": "h"}}', r"'h' is not among the tools, expected one of ['f', 'g']"),
        ('{"type": "allowed_tools", "function": {"name": "f"}}', "Invalid enum value 'allowed_tools'"),
    ],
)
def test_refusals_of_tool_choice(value: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_tool_choice(value, TOOLS)
    assert str(caught.value).startswith(f"tool_choice: {message}")


@pytest.mark.parametrize("value", ["required", '{"type": "function", "function": {"name": "f"}}'])
def test_a_call_cannot_be_required_without_tools(value: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^tool_choice: a call is required, but no tools were given"):
        parse_tool_choice(value, ())
    assert parse_tool_choice("none", ()) == ToolChoice("none")
    assert parse_tool_choice("auto", ()) == ToolChoice("auto")


def test_no_more_tools_than_a_model_could_choose_from() -> None:
    functions = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(129)]
    assert len(parse_tools(json.dumps(functions[:128]))) == 128
    with pytest.raises(InvalidRequestError, match=r"^tools: 129 were given, expected at most 128"):
        parse_tools(json.dumps(functions))
