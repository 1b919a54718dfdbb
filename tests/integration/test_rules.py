"""The model's rules through a real Triton: thinking, tool calls, budgets, grammars, log probabilities."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from nemotron_client import Client, ToolCallDelta
from tests.integration.conftest import Server
from tests.integration.triton_calls import Answer, ask

QUESTION = "What is the capital of France?"
TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"enum": [1, 2, 3]}},
                    "required": ["city", "days"],
                },
            },
        }
    ]
)
FIELDS = ("text_output", "reasoning_content", "content")


def calls_of(answer: Answer) -> list[dict[str, Any]]:
    """The tool calls of all responses, without their ids, which are made anew each time."""
    calls = [call for response in answer.responses for call in json.loads(response["tool_calls"] or "[]")]
    assert len({call.pop("id") for call in calls}) == len(calls)
    return calls


async def ask_both(address: str, **inputs: Any) -> tuple[Answer, Answer]:
    """The answer as a stream and as a whole, asked for at the same time."""
    return await asyncio.gather(ask(address, stream=True, **inputs), ask(address, stream=False, **inputs))


@pytest.mark.parametrize("marker", ["[sim:think]", "[sim:tool]", "[sim:think-tool]", "[sim:unicode]", "Hi"])
@pytest.mark.parametrize("thinking", [True, False])
def test_streamed_and_not_streamed_answers_are_the_same(simulated_server: Server, marker: str, thinking: bool) -> None:
    inputs = {"text_input": marker, "tools": TOOLS, "thinking": thinking, "max_tokens": 600}
    streamed, whole = asyncio.run(ask_both(simulated_server.grpc_address, **inputs))
    assert len(streamed.responses) > len(whole.responses) == 1
    for field in FIELDS:
        assert streamed.text(field) == whole.text(field)
    assert calls_of(streamed) == calls_of(whole)
    for field in ("finish_reason", "num_reasoning_tokens", "num_output_tokens", "thinking_budget_reached"):
        assert streamed.last[field] == whole.last[field]
    assert bool(whole.last["reasoning_content"]) is (thinking and marker in ("[sim:think]", "[sim:think-tool]", "Hi"))
    assert whole.last["finish_reason"] == ("tool_calls" if "tool" in marker else "stop")


def test_a_tool_call_and_its_result_make_a_round_trip(simulated_server: Server) -> None:
    conversation: list[dict[str, Any]] = [{"role": "user", "content": "How is the weather? [sim:think-tool]"}]
    tools = json.loads(TOOLS)
    with Client(simulated_server.grpc_url) as client:
        with client.stream_chat(conversation, thinking=True, tools=tools, max_tokens=600) as stream:
            events = list(stream)
            reply = stream.get_final()
        assert reply.finish_reason == "tool_calls"
        assert reply.content == ""
        assert reply.reasoning_content.startswith("I need the weather")
        (call,) = reply.tool_calls
        assert [event.call for event in events if isinstance(event, ToolCallDelta)] == [call]
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Bangkok"})
        conversation += [
            {"role": "assistant", "content": reply.content, "tool_calls": [call.as_message_part()]},
            {"role": "tool", "tool_call_id": call.id, "content": '{"temperature_c": 31}'},
        ]
        reply = client.chat(conversation, thinking=True, tools=tools, max_tokens=600)
    assert reply.finish_reason == "stop"
    assert reply.tool_calls == ()
    assert reply.content == "It is 31 °C and sunny in Bangkok."


def test_without_tools_nothing_is_a_call(simulated_server: Server) -> None:
    answer = simulated_server.generate(text_input="[sim:tool]", max_tokens=200)
    assert answer["tool_calls"] == ""
    assert "tool_call_error" not in answer
    assert answer["finish_reason"] == "stop"
    unknown = TOOLS.replace("get_weather", "another")
    answer = simulated_server.generate(text_input="[sim:tool]", tools=unknown, max_tokens=200)
    assert (answer["tool_calls"], answer["finish_reason"]) == ("", "stop")
    error = json.loads(answer["tool_call_error"])
    assert (error["index"], error["reason"]) == (0, "there is no tool 'get_weather'")
    assert answer["content"] == error["text"] and error["text"] in answer["text_output"]


def test_the_budget_closes_the_thinking_that_the_model_opened(simulated_server: Server) -> None:
    inputs = {"text_input": "[sim:think]", "thinking": True, "max_tokens": 300}
    free = simulated_server.generate(**inputs)
    assert not free["thinking_budget_reached"]
    cut = simulated_server.generate(max_thinking_tokens=20, **inputs)
    assert cut["thinking_budget_reached"]
    assert free["reasoning_content"].startswith(cut["reasoning_content"])
    assert cut["content"] == free["content"]
    # One token is one byte here. The opening tag and its newline are tokens too.
    assert cut["num_reasoning_tokens"] == len(cut["reasoning_content"]) <= 22 - len("<think>\n")


def test_cut_off_inside_thinking_there_is_no_content(simulated_server: Server) -> None:
    answer = simulated_server.generate(text_input="[sim:think]", thinking=True, max_tokens=30)
    assert (answer["content"], answer["finish_reason"]) == ("", "length")
    assert answer["reasoning_content"].startswith("The user wants")
    assert not answer["thinking_budget_reached"]


def test_log_probabilities_of_every_token(simulated_server: Server) -> None:
    inputs = {"text_input": "[sim:random]", "max_tokens": 20, "return_log_probs": True}
    streamed = asyncio.run(ask(simulated_server.grpc_address, stream=True, **inputs))
    per_token = [value for response in streamed.responses for value in response["output_log_probs"]]
    assert per_token == pytest.approx([-math.log(256)] * 20)
    assert streamed.last["cum_log_probs"] == pytest.approx([-20 * math.log(256)])
    texts = [one for response in streamed.responses for one in json.loads(response["logprobs"])]
    assert [one["logprob"] for one in texts] == pytest.approx(per_token)
    assert all(set(one) == {"token", "logprob", "bytes", "top_logprobs"} for one in texts)
    silent = asyncio.run(ask(simulated_server.grpc_address, text_input="[sim:random]", max_tokens=2))
    assert silent.last["logprobs"] == ""
    assert not {"output_log_probs", "cum_log_probs"} & silent.last.keys()


def test_a_loop_is_ended_with_its_own_reason(demo_server: Server) -> None:
    loop = {"type": "regex", "regex": "(la la la la\n){200}"}  # nothing else can be written, by any model
    inputs = {"text_input": "Sing.", "response_format": json.dumps(loop), "max_tokens": 500}
    guarded, free = demo_server.generate_each([{**inputs, "repetition_guard": True}, {**inputs, "max_tokens": 300}])
    assert guarded["finish_reason"] == "repetition"
    assert 256 <= guarded["num_output_tokens"] < 400
    assert free["finish_reason"] == "length"


def test_bad_words_are_not_said(demo_server: Server) -> None:
    inputs = {"text_input": "Tell me about rain.", "max_tokens": 40, "min_tokens": 40}
    word = max(demo_server.generate(**inputs)["content"].split(), key=len)
    answer = demo_server.generate(bad_words=[word], **inputs)
    assert answer["content"]
    assert word not in answer["text_output"]


@pytest.mark.parametrize(
    "words",
    [
        ["a", "a"], ["abc", "abcd"], ["bc", "abc"], ["aa", "aaa"], ["aba", "bab"],
        ["ก", "กข"], ["<|im_end|>", "<|im_end"],
        ['"', "\\\\"], [" ", "\n"], ["\U0001f44d", "\U0001f44d\U0001f3fd"], ["e", "t", "o"], ["x" * 256],
    ],
    ids=str,
)  # fmt: skip
def test_no_bad_words_harm_the_engine(demo_server: Server, words: list[str]) -> None:
    answer = demo_server.generate(text_input="Say the alphabet.", max_tokens=12, bad_words=words)
    assert not any(word in answer["text_output"] for word in words)
    assert demo_server.info["restarts"] == 0


def test_log_probabilities_of_a_real_model(demo_server: Server) -> None:
    answer = demo_server.generate(
        text_input="Why is the sky blue?", thinking=True, max_thinking_tokens=12, max_tokens=40, return_log_probs=True
    )
    entries = json.loads(answer["logprobs"])
    assert len(entries) == answer["num_output_tokens"]
    assert all(entry["logprob"] <= 0 for entry in entries)
    assert answer["cum_log_probs"] == pytest.approx(sum(entry["logprob"] for entry in entries), rel=1e-4)
    text = b"".join(bytes(entry["bytes"]) for entry in entries).decode(errors="replace")
    assert text == answer["text_output"]


@pytest.mark.parametrize("thinking", [True, False])
def test_a_required_call_is_made(demo_server: Server, thinking: bool) -> None:
    choices = ("required", '{"type": "function", "function": {"name": "get_weather"}}')
    inputs = {"text_input": "What is the weather in Paris tomorrow?", "thinking": thinking, "max_tokens": 200}
    answers = demo_server.generate_each([{**inputs, "tools": TOOLS, "tool_choice": choice} for choice in choices])
    for choice, answer in zip(choices, answers, strict=True):
        if choice == "required" and answer["finish_reason"] == "length":  # there may be any number of calls
            continue
        assert answer["finish_reason"] == "tool_calls", answer
        calls = json.loads(answer["tool_calls"])
        assert calls
        for call in calls:
            assert call["function"]["name"] == "get_weather"
            arguments = json.loads(call["function"]["arguments"])
            assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)
        assert answer["content"] == ""
        assert bool(answer["reasoning_content"]) is thinking


@pytest.mark.parametrize("thinking", [True, False])
def test_other_forms_of_an_answer(demo_server: Server, thinking: bool) -> None:
    forms: tuple[tuple[dict[str, Any], Callable[[str], bool]], ...] = (
        ({"type": "choice", "choice": ["yes", "no", "ไม่รู้"]}, lambda text: text in ("yes", "no", "ไม่รู้")),
        ({"type": "regex", "regex": "[0-9]{4}-[0-9]{2}"}, lambda text: len(text) == 7 and text[4] == "-"),
        ({"type": "json_object"}, lambda text: isinstance(json.loads(text), dict)),
    )
    inputs = {"text_input": "Is Paris in France?", "thinking": thinking, "max_tokens": 300}
    answers = demo_server.generate_each([{**inputs, "response_format": json.dumps(form)} for form, _ in forms])
    for (form, check), answer in zip(forms, answers, strict=True):
        if form["type"] != "json_object" or answer["finish_reason"] != "length":  # that form has no end of its own
            assert answer["finish_reason"] == "stop", answer
            assert check(answer["content"]), answer
        assert bool(answer["reasoning_content"]) is thinking


@pytest.mark.parametrize(
    ("response_format", "reason"),
    [
        ('{"type": "json_schema", "json_schema": {"schema": {"type": "array", "uniqueItems": true}}}', "uniqueItems"),
        ('{"type": "json_schema", "json_schema": {"schema": {"type": "strin"}}}', "strin"),
        ('{"type": "regex", "regex": "(?=a)b"}', "response_format"),
        ('{"type": "grammar", "grammar": "root ::= root"}', "response_format"),
    ],
)
def test_what_no_grammar_can_be_made_of_is_refused_with_the_reason(
    demo_server: Server, response_format: str, reason: str
) -> None:
    inputs = {"text_input": QUESTION, "response_format": response_format, "max_tokens": 100}
    status, body = demo_server.post("/v2/models/ensemble/generate", inputs)
    assert status == 400
    assert "response_format" in body and reason in body and "INVALID_ARGUMENT" in body
    assert demo_server.generate(text_input=QUESTION, max_tokens=60)["content"]
