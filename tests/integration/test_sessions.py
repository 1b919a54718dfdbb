"""Sessions through a real Triton: what is asked for on one gives what the ensemble gives."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import tritonclient.grpc.aio as aioclient
from tritonclient.utils import InferenceServerException

from tests.integration.conftest import Server
from tests.integration.test_failures import BAD_INPUTS, IN_FLIGHT
from tests.integration.test_rules import TOOLS
from tests.integration.triton_calls import stream
from tests.robustness.sessions import SessionCaller
from tests.unit.serving.support import joined
from tests.waiting import wait_until

FP32 = {"output_log_probs", "cum_log_probs"}
MARKERS = ["[sim:think]", "[sim:tool]", "[sim:think-tool]", "[sim:unicode]", "[sim:fail]", "Hi"]
MESSAGES = json.dumps(
    [
        {"role": "system", "content": "ตอบสั้น ๆ"},
        {"role": "user", "content": "[sim:unicode] \U0001f3f3\ufe0f\u200d\U0001f308"},
    ]
)
RANDOM = {"text_input": "[sim:random]", "seed": 2**64 - 1, "max_tokens": 400, "stream": True}
REQUESTS: list[dict[str, Any]] = [
    {"text_input": marker, "thinking": thinking, "stream": streaming, "tools": TOOLS, "max_tokens": 600}
    for marker, thinking, streaming in itertools.product(MARKERS, [True, False], [True, False])
]
REQUESTS += [
    {"text_input": "[sim:think]", "thinking": True, "max_thinking_tokens": 16, "max_tokens": 300, "stream": True},
    {"text_input": "[sim:think]", "thinking": True, "max_tokens": 30, "stream": True},
    {"text_input": "[sim:tool]", "tools": TOOLS.replace("get_weather", "another"), "max_tokens": 200, "stream": True},
    {"text_input": "[sim:tool]", "max_tokens": 200, "stream": True},
    {"text_input": "[sim:tool]", "tools": TOOLS, "max_tokens": 40, "stream": True},
    {"text_input": "[sim:stall]", "timeout_ms": 1200, "stream": True},
    {"text_input": "[sim:stall]", "timeout_ms": 1200},
    {"text_input": "Hi\0\u2028\u0085\r\n\t\x7f", "max_tokens": 20, "exclude_input_in_output": False},
    {"text_input": "x" * 3000, "max_tokens": 20, "exclude_input_in_output": False},
    {"text_input": "<s>[sim:unicode]", "raw_prompt": True, "max_tokens": 100, "stop_words": ["ไทย", "is", "\x00"]},
    {"messages": MESSAGES, "max_tokens": 400, "stream": True},
    RANDOM,
    {**RANDOM, "stream": False},
    {**RANDOM, "return_log_probs": True},
    {**RANDOM, "return_log_probs": True, "stream": False},
    {
        **RANDOM,
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 5,
        "priority": -3,
        "min_tokens": 1,
        "repetition_guard": True,
    },
]
REFUSED: list[dict[str, Any]] = [
    *(inputs for inputs, _ in BAD_INPUTS),
    {"text_input": "a", "max_tokens": 1.5},
    {"text_input": "a", "thinking": 1},
    {"text_input": "a", "stop_words": ["x"] * 5000},
    {"text_input": "a", "max_tokens": ["5"]},
    {"text_input": "a", "no_such_input": 1},
]


class Answer(NamedTuple):
    """All that came for a request; of its error Triton's words are left out, which name the way."""

    fields: dict[str, Any]
    error: str


def answer_of(responses: Sequence[dict[str, Any]], error: str = "") -> Answer:
    return Answer(joined(responses), re.sub(r"^in ensemble '\w+', |(?<=model ')(session|ensemble)(?=')", "", error))


async def by_ensemble(client: aioclient.InferenceServerClient, name: str, inputs: Mapping[str, Any]) -> Answer:
    responses: list[dict[str, Any]] = []
    try:
        async for response in stream(client, name, **inputs):
            responses.append(
                {
                    key: value[0] if isinstance(value, list) and key != "output_log_probs" else value
                    for key, value in response.items()
                }
            )
    except InferenceServerException as error:
        return answer_of(responses, str(error.message()))
    assert [bool(response["finish_reason"]) for response in responses] == [False] * (len(responses) - 1) + [True]
    assert inputs.get("stream") or len(responses) == 1
    return answer_of(responses)


async def all_by_ensemble(address: str, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
    async with aioclient.InferenceServerClient(address) as client:
        return await asyncio.gather(*(by_ensemble(client, f"r{n}", one) for n, one in enumerate(requests)))


def all_by_session(address: str, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """All at once on one session."""
    names = [f"r{number}" for number in range(len(requests))]
    responses: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    errors: dict[str, str] = {}
    accepted: dict[str, int] = {}
    ended: set[str] = set()
    with SessionCaller(address) as caller:
        caller.open()
        for name, inputs in zip(names, requests, strict=True):
            caller.send("session", name, session=caller.key, **inputs)
        for answer in caller.answers():
            if answer.error:
                assert answer.id not in errors
                errors[answer.id] = answer.error
            elif answer.frame is None:
                assert answer.outputs == ("num_input_tokens",)
                accepted[answer.id] = accepted.get(answer.id, 0) + 1
            else:
                caller.acknowledge(answer.frame["frame"])
                for one in answer.frame["responses"]:
                    name = one.pop("id")
                    assert name not in ended, "nothing follows the last response"
                    if "error" in one:
                        errors[name] = one.pop("error")
                    if one:
                        responses[name].append(one)
                    if name in errors or "finish_reason" in one:
                        ended.add(name)
            if ended == accepted.keys() and len(ended) + len(errors.keys() - ended) == len(names):
                break
    assert set(accepted.values()) <= {1}
    return [answer_of(responses[name], errors.get(name, "")) for name in names]


Answers = list[tuple[Answer, Answer]]


def both_ways(server: Server, requests: Sequence[Mapping[str, Any]]) -> Answers:
    """All requests in both ways, at the same time."""
    with ThreadPoolExecutor(1) as pool:
        by_session = pool.submit(all_by_session, server.grpc_address, requests)
        by_ensemble = asyncio.run(all_by_ensemble(server.grpc_address, requests))
        answers = list(zip(by_ensemble, by_session.result(), strict=True))
    wait_until(lambda: server.metric(IN_FLIGHT) == 0)
    return answers


def assert_same(by_ensemble: Answer, by_session: Answer) -> None:
    for name in FP32:  # as the ensemble's tensors have them
        assert by_session.fields.get(name, 0) == pytest.approx(by_ensemble.fields.get(name, 0))
    others = [{name: one.fields[name] for name in one.fields.keys() - FP32} for one in (by_ensemble, by_session)]
    assert others[0] == others[1]
    assert by_session.error == by_ensemble.error


@pytest.fixture(scope="module")
def answered(roomy_server: Server) -> Answers:
    return both_ways(roomy_server, REQUESTS)


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_a_session_gives_what_the_ensemble_gives(answered: Answers, number: int) -> None:
    by_ensemble, by_session = answered[number]
    assert_same(by_ensemble, by_session)
    assert by_ensemble.error or by_ensemble.fields["finish_reason"]


@pytest.fixture(scope="module")
def refused(roomy_server: Server) -> Answers:
    return both_ways(roomy_server, REFUSED)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_session_refuses_what_the_ensemble_refuses(refused: Answers, number: int) -> None:
    by_ensemble, by_session = refused[number]
    assert by_ensemble.error
    assert by_session == by_ensemble
    assert by_session.fields == {}


def test_forms_of_an_answer_are_held_on_a_session_too(demo_server: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"const": 5}}, "required": ["a"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    named = json.dumps({"type": "function", "function": {"name": "f"}})
    asked = {"text_input": "Is Paris in France?", "max_tokens": 60, "temperature": 0.0}
    requests: list[dict[str, Any]] = [
        {**asked, "response_format": json.dumps({"type": "choice", "choice": ["only this"]})},
        {**asked, "tools": json.dumps([tool]), "tool_choice": named, "stream": True},
        {**asked, "response_format": json.dumps({"type": "regex", "regex": "(?=a)b"})},
    ]
    choice, call, refused = both_ways(demo_server, requests)
    for answer in choice:
        assert (answer.error, answer.fields["content"]) == ("", "only this")
    for answer in call:
        assert (answer.error, answer.fields["finish_reason"]) == ("", "tool_calls"), answer
        (called,) = answer.fields["tool_calls"]
        assert (called["name"], json.loads(called["arguments"])) == ("f", {"a": 5})
    for answers in (choice, call):
        assert answers[0].fields.keys() == answers[1].fields.keys()
    assert refused[1] == refused[0]
    assert refused[0].error
