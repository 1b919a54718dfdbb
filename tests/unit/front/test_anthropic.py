"""Anthropic's messages: what is asked of the server, and how answers are written, whole and streamed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client import ToolCall, Usage
from nemotron_client.testing import Fault, ScriptedReply, random_pieces
from nemotron_front.anthropic import FIELDS, read_messages_request
from nemotron_front.errors import renamed
from tests.unit.front import folded
from tests.unit.front.conftest import FrontOf, InProcess

PATH = "/v1/messages"
WEATHER = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "cache_control": {"type": "ephemeral"},
}
CALL = ToolCall("call_1", "get_weather", '{"city":"Paris"}')
HI = [{"role": "user", "content": "Hi"}]


def asked(front: InProcess, **body: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages and options that the server gets for a request."""
    response = front.post(PATH, {"max_tokens": 100, "messages": HI, **body})
    assert response.status_code == 200, response.text
    request = front.transport.requests[-1]
    return request.messages, request.options


def refused(front: InProcess, **body: Any) -> str:
    """The message for a request that is refused."""
    response = front.post(PATH, {"max_tokens": 100, "messages": HI, **body})
    assert response.status_code == 400, response.text
    told = response.json()
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    return str(told["error"]["message"])


def both(front: InProcess, **body: Any) -> dict[str, Any]:
    """The answer to a request, which is the same whole and streamed."""
    body = {"max_tokens": 100, "messages": HI, **body}
    whole: dict[str, Any] = front.post(PATH, body).json()
    streamed = folded.message(front.stream(PATH, body))
    for message in (whole, streamed):
        for block in message["content"]:
            assert "signature" not in block or block.pop("signature")
        assert message.pop("id").startswith("msg_")
    assert streamed == whole
    return whole


def test_thinking_and_an_answer(front_of: FrontOf) -> None:
    usage = Usage(prompt_tokens=12, output_tokens=9, reasoning_tokens=4, cached_tokens=8)
    reply = ScriptedReply("It is Paris.", reasoning_content="France. Its capital.", usage=usage, times=None)
    answer = both(front_of(reply))
    assert answer["content"] == [
        {"type": "thinking", "thinking": "France. Its capital."},
        {"type": "text", "text": "It is Paris."},
    ]
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "end_turn")
    assert answer["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 8,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_the_prompts_tokens_are_in_the_first_event(front_of: FrontOf) -> None:
    usage = Usage(prompt_tokens=12, output_tokens=9, reasoning_tokens=0)
    events = front_of(ScriptedReply("It is Paris.", usage=usage)).stream(PATH, {"messages": HI})
    assert events[0][1]["message"]["usage"]["input_tokens"] == 12
    assert events[1] == ("ping", {"type": "ping"})


def test_calls(front_of: FrontOf) -> None:
    second = ToolCall("call_2", "get_weather", '{"city": "Köln", "days": 2}')
    reply = ScriptedReply("Let me see.", tool_calls=[CALL, second], times=None)
    answer = both(front_of(reply), tools=[WEATHER])
    assert [block["type"] for block in answer["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["input"] for block in answer["content"][1:]] == [{"city": "Paris"}, {"city": "Köln", "days": 2}]
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize("reason", ["length", "repetition", "timeout", "cancelled"])
def test_an_answer_that_is_cut(front_of: FrontOf, reason: str) -> None:
    answer = both(front_of(ScriptedReply("It is", finish_reason=reason, times=None)))
    assert answer["stop_reason"] == "max_tokens"
    assert answer.get("finish_reason", "length") == reason


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS, st.booleans(), st.integers(0, 2**16))
def test_whole_and_streamed_are_the_same(thinking: str, text: str, calls: bool, seed: int) -> None:
    tools = [CALL] if calls else []
    reply = ScriptedReply(text, reasoning_content=thinking, tool_calls=tools, split=random_pieces(seed), times=None)
    front = InProcess.alone(reply)
    with front.http:
        content = both(front, tools=[WEATHER])["content"]
    said = {block["type"]: block for block in content}
    assert (said["thinking"]["thinking"] if thinking else "thinking" not in said) == (thinking or True)
    assert (said["text"]["text"] if text else "text" not in said) == (text or True)


def test_errors_have_anthropics_shape(front_of: FrontOf) -> None:
    front = front_of([Fault.full(), ScriptedReply("It is", fault=Fault.internal("The engine failed."))])
    response = front.post(PATH, {"messages": HI, "stream": True})
    assert (response.status_code, response.json()["error"]["type"]) == (429, "rate_limit_error")
    name, data = front.stream(PATH, {"messages": HI})[-1]
    assert (name, data["type"], data["error"]["type"]) == ("error", "error", "api_error")
    assert front.transport.requests[-1].request_id in data["error"]["message"]
    unknown = front.post(PATH, {"model": "claude", "messages": HI})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")


def test_blocks_become_messages(front_of: FrontOf) -> None:
    messages, _ = asked(
        front_of("21 degrees."),
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=5e1f;"},
            {"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "x"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"city": "Köln"}},
                    {"type": "tool_use", "id": "b", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "21"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "no city", "is_error": True},
                    {"type": "text", "text": "In Celsius."},
                ],
            },
        ],
    )
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert messages[0]["content"] == "Be short."
    assert messages[2]["content"] == "Let me see."
    assert json.loads(messages[2]["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}
    assert [message["content"] for message in messages[3:]] == ["21", "Error: no city", "In Celsius."]


def test_much_white_space_in_a_system_prompt_is_read_once() -> None:
    given = {"model": "m", "max_tokens": 5, "messages": HI}
    blank, tabs = " \n" * 200_000, "\t" * 400_000
    billed = f"{blank} x-anthropic-billing-header: abc\nBe short."
    began = time.process_time()
    asks = [read_messages_request({**given, "system": system}) for system in (billed, tabs)]
    assert time.process_time() - began < 5  # it was an hour
    assert [ask.messages and ask.messages[0]["content"] for ask in asks] == [f"{blank}Be short.", tabs]


def test_an_answer_can_be_sent_back_whole(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply("Let me see.", reasoning_content="Hm.", tool_calls=[CALL], times=None))
    content = front.post(PATH, {"messages": HI, "tools": [WEATHER]}).json()["content"]
    result = [{"type": "tool_result", "tool_use_id": "call_1"}]
    back = [*HI, {"role": "assistant", "content": content}, {"role": "user", "content": result}]
    messages, _ = asked(front, messages=back)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert "Hm." not in json.dumps(messages)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"stop_sequences": ["a", "b"]}, {"stop_words": ["a", "b"]}),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, {"thinking": True, "max_thinking_tokens": 64}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"thinking": True}),
        ({"thinking": {"type": "disabled"}}, {"thinking": False}),
        ({"output_config": {"effort": "low"}}, {"thinking": True}),
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
        ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}},
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        ),
        ({"metadata": {"user_id": "x"}, "service_tier": "auto", "top_k": 5}, {"top_k": 5}),
    ],
)
def test_fields_become_options(front_of: FrontOf, fields: dict[str, Any], options: dict[str, Any]) -> None:
    _, sent = asked(front_of("Hi"), **fields)
    assert options.items() <= sent.items()


def test_a_schema_for_the_answer(front_of: FrontOf) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    for field in ({"output_config": {"format": {"type": "json_schema", "schema": schema}}},):
        _, sent = asked(front_of("{}"), **field)
        assert sent["response_format"]["json_schema"]["schema"] == schema


def test_tools_are_functions(front_of: FrontOf) -> None:
    _, sent = asked(front_of("Hi"), tools=[WEATHER])
    function = {"name": "get_weather", "description": "The weather", "parameters": WEATHER["input_schema"]}
    assert sent["tools"] == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages: "),
        ({"messages": ["Hi"]}, "messages[0]: "),
        ({"system": "x", "messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role: "),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0]: "),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type: "),
        ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice.type: "),
        ({"tools": [WEATHER], "tool_choice": {"type": ["any"]}}, "tool_choice.type: "),
        ({"tools": [WEATHER], "tool_choice": {"type": {}}}, "tool_choice.type: "),
        ({"thinking": {"type": "between_tools"}}, "thinking.type: "),
        ({"max_tokens": 0}, "max_tokens: "),
        ({"mcp_servers": [{"url": "http://x"}]}, "mcp_servers: "),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type: "),
        ({"n": 2}, "n: "),
        ({"foo": 1}, "foo: "),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(front_of: FrontOf, body: dict[str, Any], begins: str) -> None:
    assert refused(front_of("Hi"), **body).startswith(begins)


def test_errors_of_the_server_name_what_the_caller_wrote(front_of: FrontOf) -> None:
    front = front_of([Fault.invalid("max_tokens: 9 was given"), Fault.invalid("tools[0].function.parameters: no")])
    assert refused(front, max_tokens=9).startswith("max_tokens: 9")
    assert refused(front, tools=[WEATHER]) == "tools[0].input_schema: no"


def test_every_row_that_is_refused_says_what_to_do() -> None:
    assert all(row.doc for row in FIELDS.rows if row.use == "refused")


BEGUN = [*HI, {"role": "assistant", "content": "The answer is"}]
BEGUN_IN_BLOCKS = [*HI, {"role": "assistant", "content": [{"type": "text", "text": "The answer is"}]}]


@pytest.mark.parametrize("messages", [BEGUN, BEGUN_IN_BLOCKS])
def test_the_answer_goes_on_with_the_assistants_last_message(front_of: FrontOf, messages: list[Any]) -> None:
    sent, options = asked(front_of(" 4."), messages=messages)
    assert sent[-1] == {"role": "assistant", "content": "The answer is"}
    assert options["continue_final_message"] is True
    assert "thinking" not in options


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [*BEGUN, {"role": "user", "content": "Well?"}]},
        {"messages": BEGUN, "continue_final_message": False},
        {"messages": [*HI, {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}]}]},
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Let me see."},
                        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                    ],
                },
            ]
        },
    ],
    ids=["not last", "not wanted", "no text", "a call"],
)
def test_a_message_that_begins_no_answer(front_of: FrontOf, more: dict[str, Any]) -> None:
    _, options = asked(front_of("Hi"), **more)
    assert not options.get("continue_final_message")


def test_errors_name_the_message_that_begins_the_answer() -> None:
    ask = read_messages_request({"model": "m", "system": "Be short.", "messages": BEGUN})
    assert renamed("continue_final_message", ask.names) == "messages[1]"
