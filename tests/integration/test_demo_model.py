"""The demo model through the whole ensemble, with plain clients.

What it says depends on the CPU, so nothing here does: one way of asking is compared with another, and stop words are
taken from an answer that was given.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
import tritonclient.http as httpclient

from tests.integration.conftest import Front, Server
from tests.integration.triton_calls import Answer, ask, stream, tensors, values_of

QUESTION = "What is the capital of France?"
ENDS = ("stop", "length")


def settled(server: Server, **inputs: Any) -> dict[str, Any]:
    """An answer of which the prompt came from the prefix cache, as it does in every later request.

    Without the cache the last digits of the logits may differ, and with them a greedy answer.
    """
    server.generate(**inputs)
    return server.generate(**inputs)


def test_answers_a_question_over_generate(demo_server: Server) -> None:
    answer = demo_server.generate(text_input=QUESTION, max_tokens=64)
    assert answer["text_output"] == answer["content"] != ""
    assert answer["reasoning_content"] == ""
    assert answer["finish_reason"] in ENDS
    assert answer["num_input_tokens"] > 0
    assert 0 < answer["num_output_tokens"] <= 64
    assert answer["num_reasoning_tokens"] == 0


def test_thinks_within_its_budget_and_then_answers(demo_server: Server) -> None:
    answer = demo_server.generate(
        text_input="Why is the sky blue?", thinking=True, max_thinking_tokens=20, max_tokens=80, min_tokens=80
    )
    assert answer["reasoning_content"] and answer["content"]
    # The model may close its thinking earlier.
    assert answer["num_reasoning_tokens"] <= 22
    assert answer["thinking_budget_reached"] is (answer["num_reasoning_tokens"] >= 20)
    assert "</think>" in answer["text_output"]
    assert "</think>" not in answer["reasoning_content"] + answer["content"]
    assert answer["num_output_tokens"] == 80


def test_conversation_of_several_turns(demo_server: Server) -> None:
    messages = [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "My name is Somchai."},
        {"role": "assistant", "content": "Hello Somchai!", "reasoning_content": "A greeting."},
        {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
    ]
    whole = demo_server.generate(messages=json.dumps(messages), max_tokens=8)
    last = demo_server.generate(messages=json.dumps(messages[-1:]), max_tokens=8)
    assert whole["content"] and last["content"]
    # The other three have words and, each, the control tokens of a turn.
    assert whole["num_input_tokens"] > last["num_input_tokens"] + 3 * 5


@pytest.mark.parametrize("thinking", [False, True])
def test_streaming_equals_not_streaming(demo_server: Server, thinking: bool) -> None:
    inputs: dict[str, Any] = {"text_input": "Tell me about rain.", "max_tokens": 40, "min_tokens": 30}
    inputs |= {"thinking": thinking, "temperature": 0.0}
    whole = settled(demo_server, **inputs)
    streamed = asyncio.run(ask(demo_server.grpc_address, stream=True, **inputs))
    assert len(streamed.responses) > 3
    for name in ("text_output", "reasoning_content", "content"):
        assert streamed.text(name) == whole[name]
    assert streamed.last["finish_reason"] == whole["finish_reason"]
    for name in ("num_input_tokens", "num_output_tokens", "num_reasoning_tokens"):
        assert streamed.last[name] == [whole[name]]


@pytest.mark.parametrize("more", [{}, {"thinking": True, "max_thinking_tokens": 12}], ids=["answer", "two phases"])
def test_a_seed_repeats_a_sampled_answer(demo_server: Server, more: dict[str, Any]) -> None:
    """Two of some tries at least are the same: last digits depend on what of a prompt the prefix cache had."""
    inputs = {"text_input": "Write a poem.", "max_tokens": 24, "temperature": 1.0, **more}
    seeded: set[str] = set()
    for _ in range(4):
        answer = demo_server.generate(seed=7, **inputs)["text_output"]
        if answer in seeded:
            break
        seeded.add(answer)
    else:
        pytest.fail(f"four answers of one seed: {seeded}")
    others = demo_server.generate_each([{**inputs, "seed": 8}, inputs, inputs])
    other, *unseeded = (answer["text_output"] for answer in others)
    assert other not in seeded
    assert len(set(unseeded)) == 2


def test_stop_words_end_the_answer_and_are_not_in_it(demo_server: Server) -> None:
    inputs: dict[str, Any] = {"text_input": "Tell me about rain.", "max_tokens": 40, "min_tokens": 40}
    whole = settled(demo_server, **inputs)["content"]
    word = whole[20:26]
    answer = demo_server.generate(stop_words=[word, "never"], **inputs)
    assert answer["content"] == whole.partition(word)[0] != whole
    assert answer["finish_reason"] == "stop"


def test_max_tokens_ends_with_length(demo_server: Server) -> None:
    answer = demo_server.generate(text_input="Count to one hundred.", max_tokens=5)
    assert (answer["finish_reason"], answer["num_output_tokens"]) == ("length", 5)


def test_raw_prompt_is_taken_as_it_is(demo_server: Server) -> None:
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    answer = settled(demo_server, text_input=prompt, raw_prompt=True, max_tokens=64)
    asked = demo_server.generate(text_input=QUESTION, max_tokens=64)
    assert (answer["content"], answer["num_input_tokens"]) == (asked["content"], asked["num_input_tokens"])
    # As text, each control token is several tokens.
    assert demo_server.generate(text_input=prompt, max_tokens=1)["num_input_tokens"] > answer["num_input_tokens"] + 15


def test_sync_grpc_stream(demo_server: Server) -> None:
    whole = settled(demo_server, text_input=QUESTION, max_tokens=64)
    results: queue.Queue[Any] = queue.Queue()
    with grpcclient.InferenceServerClient(demo_server.grpc_address) as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        inputs = tensors(text_input=QUESTION, max_tokens=64, stream=True)
        client.async_stream_infer("ensemble", inputs, request_id="sync-1", enable_empty_final_response=True)
        responses = []
        while True:
            result, error = results.get(timeout=60)
            assert error is None
            responses.append(values_of(result))
            if result.get_response().parameters["triton_final_response"].bool_param:
                break
        client.stop_stream()
    assert Answer(responses).text() == whole["text_output"]


def test_curl_on_generate_stream(demo_server: Server) -> None:
    inputs: dict[str, Any] = {"text_input": QUESTION, "max_tokens": 24, "min_tokens": 8}
    whole = settled(demo_server, **inputs)
    body = json.dumps({**inputs, "stream": True})
    url = f"{demo_server.http_url}/v2/models/ensemble/generate_stream"
    output = subprocess.run(["curl", "-sN", url, "-d", body], check=True, capture_output=True).stdout.decode()
    events = [json.loads(line.removeprefix("data: ")) for line in output.splitlines() if line]
    assert len(events) > 1
    assert "".join(event["content"] for event in events) == whole["content"]
    assert [event["finish_reason"] for event in events[:-1]] == [""] * (len(events) - 1)
    assert events[-1]["finish_reason"] == whole["finish_reason"]


def test_stock_clients_find_their_tensors(demo_server: Server) -> None:
    """What NVIDIA's own end-to-end gRPC client sends and asks for, in its shapes."""
    inputs = tensors(
        text_input=QUESTION,
        max_tokens=16,
        bad_words=[""],
        stop_words=[""],
        stream=True,
        beam_width=1,
        temperature=1.0,
        top_k=1,
        repetition_penalty=1.0,
        seed=0,
        end_id=2,
        pad_id=2,
        return_log_probs=True,
    )
    outputs = [grpcclient.InferRequestedOutput(n) for n in ("text_output", "cum_log_probs", "output_log_probs")]

    async def run() -> list[Any]:
        async def requests() -> Any:
            yield {"model_name": "ensemble", "inputs": inputs, "outputs": outputs}

        async with aioclient.InferenceServerClient(demo_server.grpc_address) as client:
            return [pair async for pair in client.stream_infer(requests())]

    pairs = asyncio.run(run())
    assert all(error is None for _, error in pairs)
    assert "".join(result.as_numpy("text_output").item().decode() for result, _ in pairs)
    assert pairs[0][0].as_numpy("text_output").shape == (1,)
    assert pairs[0][0].as_numpy("output_log_probs").ndim == 3


def test_a_short_request_ends_before_a_long_one_that_began_earlier(demo_server: Server) -> None:
    """In-flight batching."""

    async def run() -> tuple[float, float, float]:
        async with aioclient.InferenceServerClient(demo_server.grpc_address) as client:
            started = asyncio.Event()

            async def long() -> float:
                request = stream(client, text_input="Tell a story.", max_tokens=80, min_tokens=80, stream=True)
                async for _ in request:
                    started.set()
                return time.monotonic()

            task = asyncio.create_task(long())
            await started.wait()
            begin = time.monotonic()
            async for _ in stream(client, text_input=QUESTION, max_tokens=8):
                pass
            return begin, time.monotonic(), await task

    begin, short_end, long_end = asyncio.run(run())
    assert begin < short_end < long_end


def test_token_level_model_with_stock_names(demo_server: Server) -> None:
    ids = grpcclient.InferInput("input_ids", [1, 4], "INT32")
    ids.set_data_from_numpy(np.array([[504, 3575, 282, 4649]], np.int32))
    values = tensors(input_lengths=4, request_output_len=3, streaming=False, end_id=2, pad_id=2, runtime_top_k=1)

    async def run() -> list[dict[str, Any]]:
        async def requests() -> Any:
            yield {"model_name": "tensorrt_llm", "inputs": [ids, *values]}

        async with aioclient.InferenceServerClient(demo_server.grpc_address) as client:
            return [values_of(result) async for result, error in client.stream_infer(requests()) if error is None]

    (response,) = asyncio.run(run())
    assert len(response["output_ids"]) == 3 == response["sequence_length"][0]
    assert response["num_input_tokens"] == [4]


def test_http_client_sees_the_models(demo_server: Server) -> None:
    client = httpclient.InferenceServerClient(demo_server.http_url.removeprefix("http://"))
    try:
        assert client.is_server_live() and client.is_server_ready()
        names = {tensor["name"] for tensor in client.get_model_metadata("ensemble")["inputs"]}
        assert {"text_input", "messages", "thinking"} <= names
    finally:
        client.close()


def test_demo_command(demo_server: Server, demo_front: Front) -> None:
    command = [sys.executable, "-m", "nemotron_client.demo", "--url", demo_server.grpc_url]
    environment = {**os.environ, "NEMOTRON_OPENAI_URL": f"{demo_front.url}/v1"}
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment)
    output = run.stdout
    assert f"curl {demo_front.url}/v1/chat/completions" in output and "completion_tokens" in output
    assert "thinking on" in output and "thinking off" in output
    assert "read as JSON: {'city': " in output and "prompt tokens" in output
