"""The same script over every way: a mock transport is as good as a server, and a server as a mock transport."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nemotron_client import (
    AuthenticationError,
    ContentDelta,
    InvalidRequestError,
    LogprobsDelta,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    ReasoningDelta,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    Timeouts,
    ToolCall,
    ToolCallDelta,
    ToolCallError,
    ToolCallErrorDelta,
    Usage,
)
from nemotron_client.testing import Fault, ScriptedReply, pieces, random_pieces, whole
from tests.unit.client.testing.ways import HI, Outcome, ask, ask_async

CALLS = (ToolCall("call_0", "get_weather", '{"city": "กรุงเทพ"}'), ToolCall("call_1", "get_time", "{}"))
ONCE = {"max_retries": 0}
Ask = Callable[..., Any]


@pytest.fixture(params=["mock", "grpc", "before", "http"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(params=[ask, ask_async], ids=["sync", "async"])
def talk(request: pytest.FixtureRequest, kind: str) -> Iterator[Ask]:
    """Ask over one way; no thread is left behind."""
    before = set(threading.enumerate())
    yield functools.partial(request.param, kind)
    deadline = time.monotonic() + 30  # a client does not wait for each of its threads
    # gRPC's own thread for asyncio, one a process, goes when the last of its objects does.
    while left := [thread.name for thread in set(threading.enumerate()) - before if "_poll_wrapper" not in thread.name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.005)


def test_thinking_an_answer_and_calls(talk: Ask) -> None:
    reply = ScriptedReply("Let us look.", reasoning_content="Two calls.", tool_calls=CALLS)
    (outcome,), scripted = talk([reply], thinking=True)
    assert outcome.events == [
        ReasoningDelta("Two"),
        ReasoningDelta(" calls."),
        ContentDelta("Let"),
        ContentDelta(" us"),
        ContentDelta(" look."),
        *map(ToolCallDelta, CALLS),
    ]
    whole_reply = outcome.whole
    assert (whole_reply.reasoning_content, whole_reply.content) == ("Two calls.", "Let us look.")
    assert (whole_reply.tool_calls, whole_reply.finish_reason) == (CALLS, "tool_calls")
    assert whole_reply.usage == Usage(prompt_tokens=2, output_tokens=7, reasoning_tokens=2)
    assert whole_reply.request_id == scripted.requests[0].request_id
    assert scripted.requests[0].outcome == "answered"


def test_a_call_that_cannot_be_read(talk: Ask) -> None:
    error = ToolCallError(1, "there is no tool 'g'", "g(a=1)")
    reply = ScriptedReply(error.text, split=whole, tool_calls=CALLS[:1], tool_call_error=error)
    (outcome,), _ = talk([reply], tools=[{"name": "get_weather"}])
    assert outcome.events == [ContentDelta(error.text), ToolCallDelta(CALLS[0]), ToolCallErrorDelta(error)]
    assert (outcome.whole.tool_call_error, outcome.whole.finish_reason) == (error, "tool_calls")
    (outcome,), _ = talk([reply])
    assert outcome.whole.tool_call_error is None  # without tools the server does not look for calls


def test_all_that_a_reply_says(talk: Ask) -> None:
    usage = Usage(prompt_tokens=40, output_tokens=12, reasoning_tokens=5, cached_tokens=32)
    texts = ["Hm", ".", "4", "2", ""]
    logprobs = [{"token": text, "logprob": -0.25, "bytes": [*text.encode()], "top_logprobs": []} for text in texts]
    reply = ScriptedReply(
        ["4", "2"], reasoning_content="Hm.", usage=usage, finish_reason="length", thinking_budget_reached=True,
        logprobs=logprobs,
    )  # fmt: skip
    (outcome, without), _ = talk([reply, reply], HI, HI, return_log_probs=True)
    assert outcome.events == [
        LogprobsDelta(tuple(logprobs[:2])), ReasoningDelta("Hm."),
        LogprobsDelta(tuple(logprobs[2:4])), ContentDelta("4"),
        LogprobsDelta(tuple(logprobs[4:])), ContentDelta("2"),
    ]  # fmt: skip
    assert outcome.whole.usage == usage
    assert outcome.whole.finish_reason == "length"
    assert outcome.whole.thinking_budget_reached
    assert list(outcome.whole.logprobs) == logprobs
    (without,), _ = talk([reply])
    assert without.events == [ReasoningDelta("Hm."), ContentDelta("4"), ContentDelta("2")]
    assert without.whole.logprobs == ()


@pytest.mark.parametrize("split", [whole, pieces(1), pieces(7), random_pieces(3)])
def test_a_text_arrives_whole_however_it_is_cut(talk: Ask, split: Any) -> None:
    text = " สวัสดีครับ\n\nनमस्ते 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 \x00\u2028 the end\n"
    (outcome,), _ = talk([ScriptedReply(text, reasoning_content=text, split=split)])
    assert (outcome.whole.content, outcome.whole.reasoning_content) == (text, text)
    assert [event.text for event in outcome.events] == [*split(text), *split(text)]


def test_an_empty_reply(talk: Ask) -> None:
    (outcome,), _ = talk([""])
    assert (outcome.events, outcome.whole.content, outcome.whole.usage.output_tokens) == ([], "", 0)
    assert outcome.whole.finish_reason == "stop"


FAULTS: list[tuple[Callable[[], Fault], type[NemotronError], str]] = [
    (lambda: Fault.invalid("max_tokens: -1 was given, expected 1 or more"), InvalidRequestError, "max_tokens: -1"),
    (lambda: Fault.internal("Out of memory."), ServerError, "Out of memory"),
    (Fault.full, OverloadedError, "in flight"),
    (Fault.shutting_down, ServerUnavailableError, "is shutting down"),
    (Fault.not_ready, ModelNotReadyError, "ensemble"),
    (Fault.close, ServerUnavailableError, "broke"),
    (Fault.garbage, ServerError, ""),
    (Fault.stall, RequestTimeoutError, "; the request was cancelled"),
]


@pytest.mark.parametrize("content", ["", "It begins"], ids=["at once", "in mid-stream"])
@pytest.mark.parametrize(("fault", "error", "message"), FAULTS)
def test_faults(talk: Ask, content: str, fault: Any, error: type[NemotronError], message: str) -> None:
    # Only who waits for what never comes has a limit, for a busy machine takes its time for all else.
    limits = Timeouts(first_token=None if content else 1.0, between_tokens=1.0)
    settings = ONCE | ({"timeouts": limits} if fault == Fault.stall else {})
    (outcome,), scripted = talk([ScriptedReply(content, fault=fault())], settings=settings)
    assert "".join(event.text for event in outcome.events) == content
    assert type(outcome.error) is error
    assert message in str(outcome.error)
    assert outcome.error.request_id == scripted.requests[0].request_id
    assert getattr(outcome.error, "param", None) == ("max_tokens" if error is InvalidRequestError else None)
    if error is RequestTimeoutError:
        assert getattr(outcome.error, "phase", None) == ("between_tokens" if content else "first_token")
        assert scripted.requests[0].outcome == "cancelled"


def test_credentials(talk: Ask) -> None:
    (outcome,), _ = talk([Fault.unauthenticated("The token has expired")], settings=ONCE)
    assert type(outcome.error) is AuthenticationError
    assert "The token has expired" in str(outcome.error)


def test_a_client_tries_again(talk: Ask) -> None:
    (outcome,), scripted = talk([Fault.full(), "Now there is room."])
    assert outcome.whole.content == "Now there is room."
    assert [request.outcome for request in scripted.requests] == ["failed", "answered"]
    assert len({request.request_id for request in scripted.requests}) == 1


def test_a_stream_that_is_left_is_stopped(talk: Ask) -> None:
    (outcome,), scripted = talk([ScriptedReply("on and", endless=True, token_s=0.001)], leave_after=5)
    assert [event.text for event in outcome.events] == ["on", " and", "on", " and", "on"]
    (request,) = scripted.requests
    assert scripted.cancels == [request.request_id]
    assert request.outcome == "cancelled"


def test_delays(talk: Ask) -> None:
    begin = time.perf_counter()
    (outcome,), _ = talk([ScriptedReply("a b c", ttft_s=0.1, token_s=0.05)])
    assert time.perf_counter() - begin >= 0.2
    timings = outcome.whole.timings
    assert timings.ttft_s is not None
    assert timings.ttft_s >= 0.1
    assert timings.mean_itl_s is not None
    assert timings.mean_itl_s >= 0.04


def test_what_is_recorded(talk: Ask) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]},
    ]
    options: dict[str, Any] = {
        "thinking": True, "max_tokens": 20, "temperature": 0.7, "top_p": 1, "seed": 2**64 - 1, "stop_words": "x",
        "bad_words": ["ไม่", "no"], "logit_bias": {5: -1.5}, "tool_choice": "auto", "priority": -3,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_object"},
    }  # fmt: skip
    _, scripted = talk(["{}"], messages, settings={"headers": {"X-Team": "red"}}, **options, request_id="mine")
    (request,) = scripted.requests
    assert request.request_id == "mine"
    assert request.messages == messages
    assert request.prompt is None
    assert request.text == "What is this?"
    assert request.options == {**options, "stop_words": ["x"]}
    assert request.headers["x-team"] == "red"
    assert request.outcome == "answered"


def test_a_function_makes_the_replies(talk: Ask) -> None:
    def echo(request: Any) -> str:
        return f"{request.text}, {len(request.messages)}"

    outcomes, _ = talk(echo, HI, [*HI, {"role": "user", "content": "And?"}])
    assert [outcome.whole.content for outcome in outcomes] == ["Hi there, 1", "And?, 2"]


def total(outcomes: list[Outcome]) -> int:
    return sum(len(outcome.events) for outcome in outcomes)


def test_many_requests_follow_each_other(talk: Ask) -> None:
    outcomes, scripted = talk("one two three", *[HI] * 30)
    assert total(outcomes) == 90
    assert len(scripted.requests) == 30
