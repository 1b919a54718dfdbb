"""The user who waits for the whole answer, against a fake server."""

from __future__ import annotations

import time

import pytest

from nemotron_client import Client, ToolCall, Usage
from nemotron_client.testing import FakeServer, Fault, ScriptedReply
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.users.asker import GenerateAsker
from nemotron_loadtest.workload import RequestSpec

HI = ({"role": "user", "content": "Hi"},)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def asked(reply: ScriptedReply | Fault, spec: RequestSpec) -> tuple[Sample, FakeServer]:
    samples: list[Sample] = []
    with FakeServer(reply) as server:
        asker = GenerateAsker(Client(server.http_url), server.http_url, RunClock.starting_in(0), samples.append)
        asker.ask(spec)
        asker.close()
    assert len(samples) == 1
    return samples[0], server


def test_a_whole_answer() -> None:
    reply = ScriptedReply(
        "Paris.",
        reasoning_content="Hm. ",
        tool_calls=[ToolCall("c-1", "f", "{}")],
        ttft_s=0.1,
        usage=Usage(9, 12, 6, 4),
    )
    sample, server = asked(reply, RequestSpec(messages=HI, thinking=True, options={"max_tokens": 50, "tools": [TOOL]}))
    inputs = server.requests[0].inputs
    assert (inputs["thinking"], inputs["max_tokens"]) == (True, 50)
    assert '"name": "f"' in inputs["tools"]
    assert (sample.outcome, sample.finish_reason, sample.user) == ("ok", "tool_calls", "http_generate")
    assert (sample.prompt_tokens, sample.output_tokens, sample.reasoning_tokens, sample.cached_tokens) == (9, 12, 6, 4)
    assert [arrival.output_tokens for arrival in sample.arrivals] == [12]
    assert sample.ended_s - sample.started_s >= 0.1


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault.full(), "OverloadedError"),
        (Fault.internal(), "ServerError"),
        (Fault.invalid("max_tokens: too many"), "InvalidRequestError"),
        (Fault.close(), "ServerUnavailableError"),
        (Fault.shutting_down(), "ServerUnavailableError"),
        (Fault.not_ready(), "ModelNotReadyError"),
    ],
)
def test_failures_have_the_clients_names(fault: Fault, error_type: str) -> None:
    sample, _ = asked(fault, RequestSpec(messages=HI))
    assert (sample.outcome, sample.error_type) == ("error", error_type)


def test_an_option_that_the_client_refuses_is_not_sent() -> None:
    sample, server = asked(ScriptedReply("unused"), RequestSpec(messages=HI, options={"max_tokens": "many"}))
    assert (sample.outcome, sample.error_type, server.requests) == ("error", "TypeError", [])


def test_a_complete_prompt_is_sent_as_it_is() -> None:
    sample, server = asked(ScriptedReply("Hi."), RequestSpec(prompt="<s>Say"))
    inputs = server.requests[0].inputs
    assert (sample.outcome, inputs["text_input"], inputs["raw_prompt"]) == ("ok", "<s>Say", True)


def test_nobody_there() -> None:
    samples: list[Sample] = []
    url = "http://127.0.0.1:9"
    GenerateAsker(Client(url), url, RunClock.starting_in(0), samples.append).ask(RequestSpec(messages=HI))
    assert (samples[0].outcome, samples[0].error_type) == ("error", "ServerUnavailableError")


def test_a_user_who_leaves_is_a_cancel_for_the_server() -> None:
    late = ScriptedReply("Hi.", ttft_s=30.0)
    begin = time.monotonic()
    sample, server = asked(late, RequestSpec(messages=HI, cancel_after_s=0.1))
    assert time.monotonic() - begin < 15
    assert sample.outcome == "cancelled"
    assert server.cancels == [sample.request_id]


def test_a_user_who_leaves_at_once_does_not_wait() -> None:
    sample, _ = asked(ScriptedReply("Hi.", ttft_s=30.0), RequestSpec(messages=HI, cancel_after_s=0.0))
    assert sample.outcome == "cancelled"
    assert sample.ended_s - sample.started_s < 15
