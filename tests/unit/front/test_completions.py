"""Completions of complete prompts: what is asked of the server, and how answers are written, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from nemotron_client import ContentDelta, Usage
from nemotron_client.testing import Fault, RecordedRequest, ScriptedReply, random_pieces
from nemotron_front.ask import Ask
from nemotron_front.completions import CompletionsShape
from tests.unit.front import folded
from tests.unit.front.conftest import FrontOf, InProcess

PATH = "/v1/completions"
LOGPROBS = [
    {"token": "It ", "logprob": -0.5, "bytes": [73, 116, 32], "top_logprobs": []},
    {"token": "is", "logprob": -1.5, "bytes": [105, 115], "top_logprobs": [{"token": "was", "logprob": -1.0}]},
]


def refused(front: InProcess, **body: Any) -> dict[str, Any]:
    response = front.post(PATH, body)
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def both(front: InProcess, **body: Any) -> dict[str, Any]:
    """The answer to a request, which is the same whole and streamed."""
    whole: dict[str, Any] = front.post(PATH, body).json()
    Completion.model_validate_json(json.dumps(whole), strict=True)
    events = front.stream(PATH, {**body, "stream_options": {"include_usage": True}})
    assert folded.completion(events) == whole["choices"]
    assert events[-2][1]["usage"] == whole["usage"]
    assert events[-2][1]["choices"] == []
    assert all(data["usage"] is None for _, data in events[:-2])
    assert len({(data["id"], data["created"], data["model"]) for _, data in events[:-1]}) == 1
    return whole


def test_a_prompt_goes_to_the_model_as_it_stands(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply(" Paris.", times=None))
    answer = both(front, prompt="<|begin|>The capital of France is")
    assert front.transport.requests[-1].prompt == "<|begin|>The capital of France is"
    assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == (" Paris.", "stop")
    assert answer["object"] == "text_completion"
    assert "reasoning" not in answer["choices"][0]


def test_the_fingerprint_is_the_package_that_answers(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply(" Paris.", package="nano-fp8", times=None))
    assert both(front, prompt="The capital is")["system_fingerprint"] == "nano-fp8"
    *chunks, _ = front.stream(PATH, {"prompt": "The capital is", "stream_options": {"include_usage": True}})
    assert {data["system_fingerprint"] for _, data in chunks} == {"nano-fp8"}


def shouted(request: RecordedRequest) -> ScriptedReply:
    return ScriptedReply((request.prompt or "").upper())


def test_several_prompts_and_answers(front_of: FrontOf) -> None:
    answer = both(front_of(shouted), prompt=["a b", "c"], n=2)
    assert [choice["text"] for choice in answer["choices"]] == ["A B", "A B", "C", "C"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 6


def test_answers_to_the_same_prompt_have_seeds_of_their_own(front_of: FrontOf) -> None:
    front = front_of(shouted)
    front.post(PATH, {"prompt": ["a", "b"], "n": 2, "seed": 7})
    seeds = sorted((request.prompt, request.options["seed"]) for request in front.transport.requests)
    assert seeds == [("a", 7), ("a", 8), ("b", 7), ("b", 8)]


def test_thinking_that_the_prompt_has_opened(front_of: FrontOf) -> None:
    answer = both(front_of(ScriptedReply("4", reasoning_content="2 + 2", times=None)), prompt="<think>\n")
    assert {"text": "4", "reasoning": "2 + 2", "reasoning_content": "2 + 2"}.items() <= answer["choices"][0].items()


@pytest.mark.parametrize(
    ("more", "text"), [({"include_reasoning": False}, "4"), ({"separate_reasoning": False}, "2 + 2\n</think>\n\n4")]
)
def test_thinking_where_the_caller_wants_it(front_of: FrontOf, more: dict[str, Any], text: str) -> None:
    reply = ScriptedReply("4", reasoning_content="2 + 2", times=None)
    (choice,) = both(front_of(reply), prompt="<think>\n", **more)["choices"]
    assert choice["text"] == text
    assert "reasoning" not in choice


def test_log_probabilities(front_of: FrontOf) -> None:
    reply = ScriptedReply("It is", logprobs=LOGPROBS, times=None)
    front = front_of(reply)
    logprobs = both(front, prompt="x", logprobs=2)["choices"][0]["logprobs"]
    assert logprobs == {
        "tokens": ["It ", "is"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{}, {"was": -1.0}],
        "text_offset": [0, 3],
    }
    assert {"return_log_probs": True, "top_logprobs": 2}.items() <= front.transport.requests[-1].options.items()
    front.post(PATH, {"prompt": "x", "logprobs": 0})
    assert "top_logprobs" not in front.transport.requests[-1].options


@pytest.mark.parametrize("reason", ["length", "repetition", "timeout", "cancelled"])
def test_an_answer_that_is_cut(front_of: FrontOf, reason: str) -> None:
    (choice,) = both(front_of(ScriptedReply("It is", finish_reason=reason, times=None)), prompt="x")["choices"]
    assert (choice["finish_reason"], choice.get("stop_reason", "length")) == ("length", reason)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 2**16), st.integers(1, 3))
def test_whole_and_streamed_are_the_same(thinking: str, text: str, seed: int, n: int) -> None:
    front = InProcess.alone(ScriptedReply(text, reasoning_content=thinking, split=random_pieces(seed), times=None))
    with front.http:
        choices = both(front, prompt="x", n=n)["choices"]
    assert [(choice["text"], choice.get("reasoning", "")) for choice in choices] == [(text, thinking)] * n


def test_an_error_in_the_middle(front_of: FrontOf) -> None:
    front = front_of(ScriptedReply("It is", fault=Fault.internal()))
    events = front.stream(PATH, {"prompt": "x"})
    assert front.transport.requests[-1].request_id in events[-2][1]["error"]["message"]
    assert events[-1] == ("", "[DONE]")


def test_a_format_for_the_answer(front_of: FrontOf) -> None:
    front = front_of("yes")
    assert front.post(PATH, {"prompt": "x", "guided_choice": ["yes", "no"]}).status_code == 200
    assert front.transport.requests[-1].options["response_format"] == {"type": "choice", "choice": ["yes", "no"]}


@pytest.mark.parametrize(
    "more",
    [
        {"echo": False, "best_of": 1, "suffix": None, "n": 1, "logprobs": None, "user": "x", "stop": []},
        {"repetition_penalty": 1.0, "temperature": 0, "top_p": 1.0, "max_tokens": 5, "ignore_eos": True},
    ],
)
def test_what_clients_send_is_taken(front_of: FrontOf, more: dict[str, Any]) -> None:
    assert front_of("Hi").post(PATH, {"prompt": "x", **more}).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt[0]"),
        ({"prompt": [[1, 2, 3]]}, "prompt[0]"),
        ({"prompt": ["x", None]}, "prompt[1]"),
        ({"prompt": ["x"] * 9, "n": 2}, "prompt"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "best_of": 2}, "best_of"),
        ({"prompt": "x", "logprobs": True}, "logprobs"),
        ({"prompt": "x", "tools": "y"}, "tools"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "Hi"}]}, "messages"),
        ({"prompt": "x", "foo": 1}, "foo"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(front_of: FrontOf, body: dict[str, Any], param: str) -> None:
    error = refused(front_of("Hi"), **body)
    assert error["param"] == param
    assert error["message"].startswith(param)


def test_errors_of_the_server_name_what_the_caller_wrote(front_of: FrontOf) -> None:
    faults = [Fault.invalid("top_logprobs: this engine has none"), Fault.invalid("text_input: too long")]
    front = front_of(faults)
    assert refused(front, prompt="x", logprobs=2)["param"] == "logprobs"
    assert refused(front, prompt="x")["param"] == "prompt"


@pytest.mark.parametrize("stream", [False, True])
def test_of_several_prompts_the_one_at_fault_is_named(front_of: FrontOf, stream: bool) -> None:
    def only_words(request: RecordedRequest) -> ScriptedReply | Fault:
        return shouted(request) if request.prompt else Fault.invalid("text_input: empty")

    error = refused(front_of(only_words), prompt=["a", "", "b"], n=2, stream=stream)
    assert (error["param"], error["message"]) == ("prompt[1]", "prompt[1]: empty")


def test_the_counts_so_far_take_each_prompt_once() -> None:
    shape = CompletionsShape(
        Ask(model="m", options={}, prompts=("a", "b"), n=2, stream=True, continuous_usage=True), "x"
    )
    shape.event(1, ContentDelta("a"), Usage(10, 1, 0))
    shape.event(0, ContentDelta("a"), Usage(10, 1, 0))
    data = shape.event(3, ContentDelta("b"), Usage(1000, 1, 0))
    usage = json.loads(data.removeprefix(b"data: "))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1010, 3)
