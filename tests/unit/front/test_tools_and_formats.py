"""Tools, the choice among them, and forms of the answer, in every spelling."""

from __future__ import annotations

import time
from typing import Any

import pytest

from nemotron_client import ToolCall
from nemotron_client.testing import ScriptedReply
from nemotron_front.chat import read_chat
from nemotron_front.errors import ApiError
from tests.unit.front.conftest import FrontOf

HI = [{"role": "user", "content": "Hi"}]


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


ADD, SUB = tool("add"), tool("sub")
SCHEMA = {"type": "object", "properties": {"a": {"type": ["string", "null"], "default": None}}}


def options(**body: Any) -> Any:
    return read_chat({"model": "m", "messages": HI, **body}).options


def refusal(**body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        options(**body)
    assert str(caught.value).startswith(caught.value.param or "-")
    return caught.value


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool(name) for name in names]}}


TOOLS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"tools": [ADD]}, {"tools": [ADD], "tool_choice": "auto"}),
    ({"tools": []}, {}),
    ({"tools": [], "tool_choice": "none"}, {}),
    ({"tool_choice": "auto"}, {}),
    ({"tools": [ADD], "tool_choice": "none"}, {"tools": [ADD], "tool_choice": "none"}),
    ({"tools": [ADD], "tool_choice": "required"}, {"tools": [ADD], "tool_choice": "required"}),
    ({"tools": [ADD, SUB], "tool_choice": ADD}, {"tools": [ADD, SUB], "tool_choice": ADD}),
    ({"tools": [ADD], "tool_choice": {"type": "function", "name": "add"}}, {"tools": [ADD], "tool_choice": ADD}),
    ({"tools": [ADD, SUB], "tool_choice": allowed("auto", "sub")}, {"tools": [SUB], "tool_choice": "auto"}),
    ({"tools": [ADD, SUB], "tool_choice": allowed("required", "add")}, {"tools": [ADD], "tool_choice": "required"}),
    # What the model is not told of a tool.
    ({"tools": [tool("add", strict=True, description=None)]}, {"tools": [ADD], "tool_choice": "auto"}),
    ({"tools": [{**ADD, "cache_control": {}}]}, {"tools": [ADD], "tool_choice": "auto"}),
    ({"tools": [{"type": "function", "name": "add"}]}, {"tools": [ADD], "tool_choice": "auto"}),
    ({"tools": [{**ADD, "type": None}]}, {"tools": [ADD], "tool_choice": "auto"}),
    ({"tools": [ADD, SUB], "tool_choice": {"function": {"name": "add"}}}, {"tools": [ADD, SUB], "tool_choice": ADD}),
    (
        {"tools": [tool("add", description="Adds.", parameters=SCHEMA)]},
        {"tools": [tool("add", description="Adds.", parameters=SCHEMA)], "tool_choice": "auto"},
    ),
]


@pytest.mark.parametrize(("body", "expected"), TOOLS, ids=str)
def test_tools_are_read(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert options(**body) == expected


TOOLS_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "functions of yours"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "name"),
    ({"tools": ["add"]}, "tools[0].type", '"add" was given'),
    ({"tools": [ADD], "tool_choice": "maybe"}, "tool_choice", "allowed_tools"),
    ({"tools": [ADD], "tool_choice": tool("mul")}, "tool_choice", '"mul" was given, expected one of the tools: add'),
    ({"tools": [ADD], "tool_choice": {"type": "custom"}}, "tool_choice", "allowed_tools"),
    ({"tools": [ADD], "tool_choice": {"name": "add"}}, "tool_choice", "allowed_tools"),
    ({"tools": [ADD], "tool_choice": allowed("auto", "mul")}, "tool_choice", '"mul" was given'),
    ({"tools": [ADD], "tool_choice": allowed("none", "add")}, "tool_choice", "expected"),
    ({"tools": [ADD], "tool_choice": allowed("auto")}, "tool_choice", "expected"),
    ({"tool_choice": "required"}, "tool_choice", "send tools with it"),
    ({"tool_choice": ADD}, "tool_choice", '"add" was given'),
]


@pytest.mark.parametrize(("body", "param", "message"), TOOLS_REFUSED, ids=str)
def test_what_is_no_tool_is_refused(body: dict[str, Any], param: str, message: str) -> None:
    told = refusal(**body)
    assert told.param == param
    assert message in str(told)


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "schema": value}


NAMED = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
REGEX, CHOICE = {"type": "regex", "regex": "[ab]"}, {"type": "choice", "choice": ["a", "b"]}
FORMATS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"response_format": {"type": "json_object"}}, {"type": "json_object"}),
    ({"response_format": NAMED}, NAMED),
    (
        {"response_format": {"type": "json_schema", "json_schema": {**NAMED["json_schema"], "description": None}}},  # type: ignore[dict-item]
        NAMED,
    ),
    ({"response_format": {"type": "json_object", "json_schema": None}}, {"type": "json_object"}),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, schema(SCHEMA)),
    ({"response_format": schema(SCHEMA)}, schema(SCHEMA)),
    ({"response_format": REGEX}, REGEX),
    ({"response_format": CHOICE}, CHOICE),
    ({"guided_json": SCHEMA}, schema(SCHEMA)),
    ({"guided_json": '{"type": "object"}'}, schema({"type": "object"})),
    ({"guided_regex": "[ab]"}, REGEX),
    ({"guided_choice": ["a", "b"]}, CHOICE),
    ({"nvext": {"guided_json": SCHEMA}}, schema(SCHEMA)),
    ({"nvext": {"guided_regex": "[ab]"}}, REGEX),
    ({"nvext": {"guided_choice": ["a", "b"]}}, CHOICE),
    ({"structured_outputs": {"json": SCHEMA}}, schema(SCHEMA)),
    ({"structured_outputs": {"regex": "[ab]"}}, REGEX),
    ({"structured_outputs": {"choice": ["a", "b"], "json": None}}, CHOICE),
    ({"structured_outputs": {"json_object": True}}, {"type": "json_object"}),
    ({"json_schema": SCHEMA}, schema(SCHEMA)),
    ({"regex": "[ab]"}, REGEX),
    ({"response_format": {"type": "text"}, "guided_regex": "[ab]"}, REGEX),
]


@pytest.mark.parametrize(("body", "expected"), FORMATS, ids=str)
def test_every_spelling_of_a_form_is_one(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert options(**body) == {"response_format": expected}


def test_text_is_no_form() -> None:
    assert options(response_format={"type": "text"}) == {}


FORMATS_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": {"type": "object"}}, "response_format", "json_schema"),
    ({"response_format": {}}, "response_format", "null was given"),
    ({"response_format": "json"}, "response_format", "an object"),
    ({"guided_json": "{"}, "guided_json", "JSON schema"),
    ({"guided_json": "[" * 100_000}, "guided_json", "JSON schema"),
    ({"guided_json": '{"enum": ["\\ud800"]}'}, "guided_json", "JSON schema"),
    ({"guided_json": '{"enum": [NaN]}'}, "guided_json", "JSON schema"),
    ({"guided_choice": "a"}, "guided_choice", "a list of strings"),
    ({"guided_json": SCHEMA, "guided_regex": "a"}, "guided_regex", "guided_json was given as well"),
    ({"structured_outputs": {"grammar": "g"}}, "structured_outputs.grammar", "guided_regex"),
]


@pytest.mark.parametrize(("body", "param", "message"), FORMATS_REFUSED)
def test_what_is_no_form_is_refused(body: dict[str, Any], param: str, message: str) -> None:
    told = refusal(**body)
    assert told.param == param
    assert message in str(told)


CALLS = (ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "add", '{"a": 2}'))


def test_many_tools_are_allowed_at_once_and_few_are_shown() -> None:
    names = [f"tool{number}" for number in range(20_000)]
    tools = [tool(name) for name in names]
    began = time.process_time()
    assert options(tools=tools, tool_choice=allowed("auto", *names))["tools"] == tools
    assert time.process_time() - began < 5  # it was a minute
    message = str(refusal(tools=tools, tool_choice=tool("none")))
    assert message.endswith("tool18, tool19, …")
    assert len(str(refusal(tools=[tool("x" * 10_000)], tool_choice=tool("none")))) < 300


@pytest.mark.parametrize("stream", [True, False])
def test_only_the_first_call_is_made_and_the_server_stops(front_of: FrontOf, stream: bool) -> None:
    front = front_of(ScriptedReply("Let me see.", tool_calls=CALLS, reasoning_content="Hm.", token_s=0.02))
    body: dict[str, Any] = {"model": "nano", "messages": HI, "tools": [ADD], "parallel_tool_calls": False}
    with front.openai() as client:
        if stream:
            with client.chat.completions.stream(**body) as one:
                answer: Any = one.get_final_completion()
        else:
            answer = client.chat.completions.create(**body)
    choice = answer.choices[0]
    assert [call.id for call in choice.message.tool_calls] == ["c1"]
    assert (choice.message.content, choice.message.reasoning) == ("Let me see.", "Hm.")
    assert choice.finish_reason == "tool_calls"
    assert front.transport.cancels == [front.transport.requests[0].request_id]


@pytest.mark.parametrize("reached", [True, False])
def test_with_the_first_call_alone_it_is_told_that_the_budget_was_reached(front_of: FrontOf, reached: bool) -> None:
    front = front_of(ScriptedReply(tool_calls=CALLS, reasoning_content="Hm.", thinking_budget_reached=reached))
    body = {"messages": HI, "tools": [ADD], "parallel_tool_calls": False}
    (choice,) = front.post("/v1/chat/completions", body).json()["choices"]
    assert choice.get("thinking_budget_reached", False) is reached


def test_without_a_call_the_answer_is_whole(front_of: FrontOf) -> None:
    front = front_of("No need.")
    answer = front.post("/v1/chat/completions", {"messages": HI, "tools": [ADD], "parallel_tool_calls": False}).json()
    assert answer["choices"][0]["message"]["content"] == "No need."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert front.transport.cancels == []
