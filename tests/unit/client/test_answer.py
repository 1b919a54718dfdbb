"""Responses become events as they come, and one reply at the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nemotron_client import (
    ContentDelta,
    LogprobsDelta,
    ReasoningDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallError,
    ToolCallErrorDelta,
    Usage,
)
from nemotron_client._answer import AnswerReader

CALL = {"id": "call-1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}


def response(**values: Any) -> dict[str, Any]:
    nothing = {
        "reasoning_content": "",
        "content": "",
        "tool_calls": "",
        "finish_reason": "",
        "num_input_tokens": 7,
        "num_output_tokens": 0,
        "num_reasoning_tokens": 0,
        "num_cached_tokens": -1,
        "thinking_budget_reached": False,
    }
    return nothing | values


def test_an_answer_with_thinking_text_and_a_call() -> None:
    reader = AnswerReader("r-1", 10.0)
    assert reader.events_of(response(), 10.5) == []
    assert reader.started
    assert reader.events_of(response(reasoning_content="Hm", num_output_tokens=1), 11.0) == [ReasoningDelta("Hm")]
    both = response(reasoning_content=".", content="It ", num_output_tokens=3, num_reasoning_tokens=2)
    assert reader.events_of(both, 12.0) == [ReasoningDelta("."), ContentDelta("It ")]
    assert reader.reply is None
    call = ToolCall("call-1", "get_weather", '{"city": "Rome"}')
    last = response(
        content="is",
        tool_calls=json.dumps([CALL]),
        finish_reason="tool_calls",
        num_output_tokens=9,
        num_reasoning_tokens=2,
        num_cached_tokens=4,
        thinking_budget_reached=True,
    )
    assert reader.events_of(last, 15.0) == [ContentDelta("is"), ToolCallDelta(call)]
    reply = reader.reply
    assert reply is not None
    assert (reply.reasoning_content, reply.content, reply.tool_calls) == ("Hm.", "It is", (call,))
    assert (reply.finish_reason, reply.thinking_budget_reached) == ("tool_calls", True)
    assert (reply.usage, reply.request_id) == (Usage(7, 9, 2, 4), "r-1")
    timings = reply.timings
    assert (timings.ttft_s, timings.first_answer_s, timings.total_s) == (1.0, 2.0, 5.0)
    # Eight tokens came in the four seconds after the first one, whatever the responses they shared.
    assert timings.mean_itl_s == 0.5


def test_a_call_that_could_not_be_read() -> None:
    reader = AnswerReader("r-1", 0.0)
    error = ToolCallError(1, "there is no tool 'g'", '{"name": "g"}')
    found = response(content=error.text, tool_calls=json.dumps([CALL]), tool_call_error=json.dumps(vars(error)))
    events = reader.events_of(found, 1.0)
    assert (events[0], events[2:]) == (ContentDelta(error.text), [ToolCallErrorDelta(error)])
    assert reader.events_of(response(finish_reason="tool_calls"), 2.0) == []
    assert reader.reply is not None
    assert (reader.reply.tool_call_error, reader.reply.content) == (error, error.text)
    assert reader.reply.as_message()["content"] == error.text


@pytest.mark.parametrize("tokens", [0, 1])
def test_what_cannot_be_measured_is_none(tokens: int) -> None:
    reader = AnswerReader("r", 0.0)
    reader.events_of(response(finish_reason="length", num_output_tokens=tokens), 2.0)
    assert reader.reply is not None
    timings = reader.reply.timings
    assert (timings.ttft_s, timings.first_answer_s, timings.mean_itl_s) == (2.0 if tokens else None, None, None)
    assert reader.reply.usage.cached_tokens is None


def test_log_probabilities_of_all_responses() -> None:
    reader = AnswerReader("r", 0.0)
    entry = {"token": "a", "logprob": -0.5, "top_logprobs": []}
    first = response(logprobs=json.dumps([entry, entry]), content="a")
    assert reader.events_of(first, 1.0) == [LogprobsDelta((entry, entry)), ContentDelta("a")]
    assert reader.events_of(response(logprobs="", num_output_tokens=2), 1.0) == []
    reader.events_of(response(logprobs=json.dumps([entry]), finish_reason="stop"), 1.0)
    assert reader.reply is not None
    assert reader.reply.logprobs == (entry, entry, entry)


def test_the_package_that_answers_is_known_from_the_first_response_on() -> None:
    reader = AnswerReader("r-1", 0.0)
    assert reader.package == ""
    reader.events_of(response(package="nano-fp8", content="a"), 1.0)
    assert reader.package == "nano-fp8"
    reader.events_of(response(finish_reason="stop"), 2.0)
    assert reader.reply is not None
    assert reader.reply.package == "nano-fp8"


def test_a_server_that_does_not_say_its_package() -> None:
    reader = AnswerReader("r-1", 0.0)
    reader.events_of(response(finish_reason="stop"), 1.0)
    assert reader.reply is not None
    assert reader.reply.package == ""


def test_what_has_come_so_far_can_be_asked_for() -> None:
    reader = AnswerReader("r", 0.0)
    assert (reader.usage, reader.arrivals) == (None, [])
    reader.events_of(response(), 1.0)
    assert (reader.usage, reader.arrivals) == (Usage(7, 0, 0), [])
    reader.events_of(response(num_output_tokens=2, num_reasoning_tokens=2), 2.0)  # tokens that are no text yet
    reader.events_of(response(content="It", num_output_tokens=3, num_reasoning_tokens=2), 3.0)
    reader.events_of(response(finish_reason="stop", num_output_tokens=3, num_reasoning_tokens=2), 4.0)
    assert (reader.usage, reader.arrivals) == (Usage(7, 3, 2), [(2.0, 2), (3.0, 3)])
