"""The Anthropic SDK: messages, thinking, streams, tools, counting, errors."""

from __future__ import annotations

from typing import Any, Literal

import anthropic
from checking import (
    ANSWER,
    FRONT_URL,
    MODEL,
    MODEL_URL,
    QUESTION,
    SMALL_MODEL,
    THINKING,
    TOOL_ANSWER,
    TOOL_QUESTION,
    get_weather,
    run_checks,
)
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=FRONT_URL, api_key="none")
small = anthropic.Anthropic(base_url=MODEL_URL, api_key="none")
ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
THINK: Any = {"type": "enabled", "budget_tokens": 1024}
WEATHER_TOOL: Any = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Capital(BaseModel):
    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def check_messages() -> None:
    reply = client.messages.create(model=MODEL, max_tokens=2000, messages=ASKED, thinking=THINK)
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert (reply.content[0].thinking, reply.content[1].text) == (THINKING, ANSWER)
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0


def check_system_and_no_thinking() -> None:
    reply = client.messages.create(model=MODEL, max_tokens=200, system="Be brief.", messages=ASKED)
    assert [block.type for block in reply.content] == ["text"]


def check_limit() -> None:
    assert client.messages.create(model=MODEL, max_tokens=3, messages=ASKED).stop_reason == "max_tokens"


def check_stream() -> None:
    with client.messages.stream(model=MODEL, max_tokens=2000, messages=ASKED, thinking=THINK) as stream:
        thinking = "".join(event.thinking for event in stream if event.type == "thinking")
        reply = stream.get_final_message()
    assert thinking == reply.content[0].thinking == THINKING
    assert reply.content[1].text == ANSWER
    assert reply.usage.output_tokens > 0


async def check_async_stream() -> None:
    async with (
        anthropic.AsyncAnthropic(base_url=FRONT_URL, api_key="none") as own,
        own.messages.stream(model=MODEL, max_tokens=2000, messages=ASKED) as stream,
    ):
        assert "".join([text async for text in stream.text_stream]) == ANSWER


def check_tool_round_trip() -> None:
    messages: list[Any] = [{"role": "user", "content": TOOL_QUESTION}]
    reply = client.messages.create(model=MODEL, max_tokens=200, messages=messages, tools=[WEATHER_TOOL])
    assert reply.stop_reason == "tool_use"
    messages.append({"role": "assistant", "content": reply.content})
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": block.id, "content": get_weather(**block.input)}
        for block in reply.content
        if block.type == "tool_use"
    ]
    assert len(results) == 1
    messages.append({"role": "user", "content": results})
    with client.messages.stream(model=MODEL, max_tokens=200, messages=messages, tools=[WEATHER_TOOL]) as stream:
        assert stream.get_final_text() == TOOL_ANSWER


def check_streamed_tool_call() -> None:
    asked: list[Any] = [{"role": "user", "content": TOOL_QUESTION}]
    with client.messages.stream(model=MODEL, max_tokens=200, messages=asked, tools=[WEATHER_TOOL]) as stream:
        reply = stream.get_final_message()
    (call,) = (block for block in reply.content if block.type == "tool_use")
    assert (call.name, call.input) == ("get_weather", {"city": "Bangkok"})


def check_parse() -> None:
    reply = small.messages.parse(
        model=SMALL_MODEL,
        max_tokens=200,
        messages=[{"role": "user", "content": "Describe the capital of France."}],
        output_format=Capital,
    )
    assert isinstance(reply.parsed_output, Capital)


def check_count_tokens() -> None:
    count = client.messages.count_tokens(model=MODEL, messages=ASKED)
    reply = client.messages.create(model=MODEL, max_tokens=3, messages=ASKED)
    assert count.input_tokens == reply.usage.input_tokens


def check_errors() -> None:
    for changes, kind, word in (
        ({"extra_body": {"temperature": 9}}, anthropic.BadRequestError, "invalid_request_error"),
        ({"model": "x"}, anthropic.NotFoundError, "not_found_error"),
    ):
        try:
            client.messages.create(**{"model": MODEL, "max_tokens": 9, "messages": ASKED, **changes})
        except anthropic.APIStatusError as error:
            assert type(error) is kind
            assert error.body["type"] == "error"
            assert error.body["error"]["type"] == word
        else:
            raise AssertionError(f"{changes} were accepted")


run_checks(globals())
