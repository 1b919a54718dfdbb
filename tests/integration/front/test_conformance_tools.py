"""Tool calls: from scripts where the model's choice matters, from the demo's model where the form does."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest

from tests.integration.conftest import Front
from tests.integration.front.asking import NVIDIA_ID, OFF, WEATHER, Got, ask_all, user

OTHER = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bangkok"}'}}
ROUND = [
    *user("[sim:tool]")["messages"],
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "31 °C"},
]
WITHOUT_CONTENT: dict[str, dict[str, Any]] = {
    "null": {"role": "assistant", "content": None, "tool_calls": [CALL]},
    "empty": {"role": "assistant", "content": "", "tool_calls": [CALL]},
    "no parts": {"role": "assistant", "content": [], "tool_calls": [CALL]},
    "none": {"role": "assistant", "tool_calls": [CALL]},
}
ONE: dict[str, Any] = {**user("[sim:tool]"), **OFF, "tools": [WEATHER]}
TWO: dict[str, Any] = {**user("[sim:tools]"), **OFF, "tools": [WEATHER]}
BODIES: dict[str, dict[str, Any]] = {
    "auto": ONE,
    "none": {**ONE, "tool_choice": "none"},
    "two": TWO,
    "two streamed": {**TWO, "stream": True},
    "one at a time": {**TWO, "parallel_tool_calls": False},
    "one at a time streamed": {**TWO, "parallel_tool_calls": False, "stream": True},
    "round": {**ONE, "messages": ROUND},
    **{
        f"content: {name}": {**ONE, "messages": [ROUND[0], spoken, ROUND[2]]}
        for name, spoken in WITHOUT_CONTENT.items()
    },
    "another is allowed": {
        **ONE,
        "tools": [WEATHER, OTHER],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
    },
    "not there": {**ONE, "tool_choice": {"type": "function", "function": {"name": "nothing"}}},
    "functions": {**user("Hi"), "functions": [{"name": "f"}]},
}
FORCED = {**user("What is the weather like in Oslo?"), **OFF, "tools": [WEATHER, OTHER], "max_tokens": 100}


@pytest.fixture(scope="module")
def asked(front: Front) -> dict[str, Got]:
    return ask_all(front, BODIES)


@pytest.fixture(scope="module")
def forced(demo_front: Front) -> dict[str, Got]:
    choices = {"required": "required", "named": NAMED}
    return ask_all(demo_front, {name: {**FORCED, "tool_choice": choice} for name, choice in choices.items()})


def test_a_call_ends_the_answer_and_its_arguments_are_an_object(asked: dict[str, Got]) -> None:
    (call,) = asked["auto"].message["tool_calls"]
    assert asked["auto"].choice["finish_reason"] == "tool_calls"
    assert json.loads(call["function"]["arguments"]) == {"city": "Bangkok"}
    assert len(call["id"]) <= 40
    assert asked["auto"].message["content"] == ""


@pytest.mark.parametrize("choice", ["required", "named"])
def test_a_forced_call_follows_the_schema(forced: dict[str, Got], choice: str) -> None:
    got = forced[choice]
    # One call always comes to its end; of a list of them the model says when it ends.
    assert got.choice["finish_reason"] in (("tool_calls",) if choice == "named" else ("tool_calls", "length"))
    assert got.message["tool_calls"]
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in (WEATHER, OTHER)}  # type: ignore[index]
    for call in got.message["tool_calls"]:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        assert choice == "required" or name == "get_weather"
        jsonschema.validate(json.loads(arguments), tools[name], jsonschema.Draft202012Validator)


def test_tool_choice_none_makes_no_call(asked: dict[str, Got]) -> None:
    assert "tool_calls" not in asked["none"].message
    assert asked["none"].choice["finish_reason"] == "stop"


def test_two_calls_have_their_own_indexes_and_ids(asked: dict[str, Got]) -> None:
    first, second = asked["two"].message["tool_calls"]
    assert first["id"] != second["id"]
    cities = [json.loads(call["function"]["arguments"])["city"] for call in (first, second)]
    assert cities == ["Bangkok", "Oslo"]
    parts = [
        part
        for chunk in asked["two streamed"].chunks
        for choice in chunk["choices"]
        for part in choice["delta"].get("tool_calls", ())
    ]
    for index, city in enumerate(cities):
        first, *others = [part for part in parts if part["index"] == index]
        assert first["id"] and first["type"] == "function" and first["function"]["name"] == "get_weather"
        assert [part.keys() for part in others] == [{"index", "function"}] * len(others)
        assert not any("name" in part["function"] for part in others)
        arguments = "".join(part["function"]["arguments"] for part in (first, *others))
        assert json.loads(arguments) == {"city": city}


def test_one_call_at_a_time(asked: dict[str, Got]) -> None:
    (call,) = asked["one at a time"].message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Bangkok"}
    assert asked["one at a time"].choice["finish_reason"] == "tool_calls"
    streamed = asked["one at a time streamed"].chunks
    indexes = {part["index"] for chunk in streamed for part in chunk["choices"][0]["delta"].get("tool_calls", ())}
    assert indexes == {0}
    assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_result_of_a_call_is_answered(asked: dict[str, Got]) -> None:
    assert asked["round"].choice["finish_reason"] == "stop"
    assert asked["round"].message["content"] == "It is 31 °C and sunny in Bangkok."


@pytest.mark.parametrize("content", ["null", "empty", "no parts", "none"])
def test_a_call_beside_no_content_is_taken(asked: dict[str, Got], content: str) -> None:
    assert asked[f"content: {content}"].status == 200, asked[f"content: {content}"].text
    assert asked[f"content: {content}"].usage["prompt_tokens"] == asked["round"].usage["prompt_tokens"]


def test_only_allowed_tools_are_called(asked: dict[str, Got]) -> None:
    assert "tool_calls" not in asked["another is allowed"].message  # the script calls get_weather


def test_what_is_not_there_is_refused(asked: dict[str, Got]) -> None:
    assert (asked["not there"].status, asked["not there"].error["param"]) == (400, "tool_choice")
    assert (asked["functions"].status, asked["functions"].error["param"]) == (400, "functions")
    assert "use tools" in asked["functions"].error["message"]


def test_openai_s_helper_joins_the_calls(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=NVIDIA_ID, messages=TWO["messages"], tools=[WEATHER]) as stream:  # type: ignore[list-item]
        message = stream.get_final_completion().choices[0].message
    assert message.role == "assistant"
    assert [call.function.name for call in message.tool_calls or ()] == ["get_weather"] * 2
