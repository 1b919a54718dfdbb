"""Limits, bad input, cancelling and crashes, through a real Triton with the simulated engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient

from nemotron_client import Client, OverloadedError
from tests.integration.conftest import Server
from tests.integration.triton_calls import Answer, ask, stream, tensor
from tests.waiting import wait_until

RANDOM = "[sim:random]"  # tokens until max_tokens
IN_FLIGHT = "nemotron_requests_in_flight"
POST_STREAMS = "nemotron_postprocessing_streams"


def nothing_left(server: Server) -> bool:
    return server.metric(IN_FLIGHT) == 0 == server.metric(POST_STREAMS)


def run_with(address: str, use: Callable[[aioclient.InferenceServerClient], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with aioclient.InferenceServerClient(address) as client:
            return await use(client)

    return asyncio.run(run())


def grpc_error(address: str, inputs: list[Any]) -> str:
    """The error that a streaming request ends with."""

    async def use(client: aioclient.InferenceServerClient) -> str:
        async def requests() -> Any:
            yield {"model_name": "ensemble", "inputs": inputs}

        errors = [error async for _, error in client.stream_infer(requests()) if error is not None]
        assert len(errors) == 1
        return str(errors[0])

    return str(run_with(address, use))


BAD_INPUTS: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": 5}, "text_input"),
    ({"text_input": ""}, "text_input"),
    ({"text_input": "a", "messages": "[]"}, "text_input"),
    ({"messages": "[]"}, "messages"),
    ({"messages": "not json"}, "messages"),
    ({"messages": '[{"role": "wizard", "content": "a"}]'}, "messages"),
    ({"messages": '[{"role": "user", "content": 5}]'}, "messages"),
    ({"messages": '[{"role": "user", "content": "\\ud800"}]'}, "messages"),
    ({"text_input": "a", "max_tokens": 0}, "max_tokens"),
    ({"text_input": "a", "max_tokens": -3}, "max_tokens"),
    ({"text_input": "a", "max_tokens": 10**9}, "max_tokens"),
    ({"text_input": "a", "temperature": -1.0}, "temperature"),
    ({"text_input": "a", "top_p": 1.5}, "top_p"),
    ({"text_input": "a", "top_k": -1}, "top_k"),
    ({"text_input": "a", "timeout_ms": 0}, "timeout_ms"),
    ({"text_input": "a", "max_thinking_tokens": 5}, "max_thinking_tokens"),
    ({"text_input": "a", "beam_width": 4}, "beam_width"),
    ({"text_input": "a", "num_return_sequences": 2}, "num_return_sequences"),
    ({"text_input": "a", "bad_words": ["x"]}, "bad_words"),
    ({"text_input": "a", "logit_bias": '{"5": 1}'}, "logit_bias"),
    ({"text_input": "a", "top_logprobs": 2}, "top_logprobs"),
    ({"text_input": "a", "priority": 5000}, "priority"),
    ({"text_input": "a", "tool_choice": "required"}, "tool_choice"),
    ({"text_input": "a", "tool_choice": '{"\\u0000": 1}'}, "tool_choice"),
    ({"text_input": "a", "tools": '[{"type": "function"}]'}, "tools"),
    ({"text_input": "a", "response_format": '{"type": "json_object"}'}, "response_format"),
    ({"text_input": "a " * 5_000_000}, "text_input"),
]


@pytest.mark.parametrize(("inputs", "field"), BAD_INPUTS, ids=[str(n) for n in range(len(BAD_INPUTS))])
def test_bad_input_is_named_and_harms_nothing(simulated_server: Server, inputs: dict[str, Any], field: str) -> None:
    error = grpc_error(simulated_server.grpc_address, [tensor(name, value) for name, value in inputs.items()])
    assert f" {field}" in error
    assert error.endswith("(INVALID_ARGUMENT)")

    status, body = simulated_server.post("/v2/models/ensemble/generate", inputs)
    assert status == 400
    assert f" {field}" in json.loads(body)["error"]

    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2


def test_wrong_types_and_shapes_are_refused(simulated_server: Server) -> None:
    text = tensor("text_input", "a")
    two = grpcclient.InferInput("max_tokens", [1, 2], "INT32")
    two.set_data_from_numpy(np.array([[1, 2]], np.int32))
    batch = grpcclient.InferInput("text_input", [2, 1], "BYTES")
    batch.set_data_from_numpy(np.array([[b"a"], [b"b"]], np.object_))
    for inputs, word in (
        ([text, tensor("max_tokens", 1.5)], "max_tokens"),
        ([text, tensor("thinking", 1)], "thinking"),
        ([text, two], "max_tokens"),
        ([batch], "batch"),
        ([], "0 inputs"),
        ([text, tensor("no_such_input", 1)], "no_such_input"),
    ):
        error = grpc_error(simulated_server.grpc_address, inputs)
        assert word in error


def test_a_name_that_is_no_input_is_refused_over_http(simulated_server: Server) -> None:
    status, body = simulated_server.post("/v2/models/ensemble/generate", {"text_input": "Hi", "temprature": 0.5})
    assert status == 400
    assert "temprature: this model has no such input; did you mean temperature?" in body


def test_status_code_of_a_unary_call(simulated_server: Server) -> None:
    with grpcclient.InferenceServerClient(simulated_server.grpc_address) as client:
        with pytest.raises(grpcclient.InferenceServerException) as caught:
            client.infer("preprocessing", [tensor("text_input", "a"), tensor("max_tokens", 0)])
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_invalid_utf8_and_json_bodies(simulated_server: Server) -> None:
    error = grpc_error(simulated_server.grpc_address, [tensor("text_input", b"ab\xff\xfe")])
    assert "text_input: not valid UTF-8" in error
    status, _ = simulated_server.post("/v2/models/ensemble/generate", b'{"text_input": "a\xff"}')
    assert status == 400
    for body in (b'{"text_input": ', b"[]", b""):
        # Triton's own HTTP front reads the JSON and answers these with 500.
        status, _ = simulated_server.post("/v2/models/ensemble/generate", body)
        assert status in (400, 500)
    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2


def test_streams_every_script_and_emoji_whole(simulated_server: Server) -> None:
    """One token is one byte here, so every character but ASCII is cut by the engine."""
    address = simulated_server.grpc_address
    streamed = asyncio.run(ask(address, text_input="[sim:unicode]", max_tokens=400, stream=True))
    assert len(streamed.responses) > 10
    assert all("\ufffd" not in response["content"] for response in streamed.responses)
    for text in ("สวัสดีครับ", "नमस्ते", "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇹🇭"):
        assert text in streamed.text("content")
    assert streamed.text() == simulated_server.generate(text_input="[sim:unicode]", max_tokens=400)["text_output"]


def test_thinking_script_is_split(simulated_server: Server) -> None:
    streamed = asyncio.run(
        ask(simulated_server.grpc_address, text_input="[sim:think]", thinking=True, max_tokens=200, stream=True)
    )
    assert streamed.text("reasoning_content").startswith("The user wants")
    assert streamed.text("content") == "The answer is 4."
    assert streamed.last["num_reasoning_tokens"] == [len(streamed.text("reasoning_content").encode())]


def test_a_failing_stream_leaves_the_others_alone(simulated_server: Server) -> None:
    async def use(client: aioclient.InferenceServerClient) -> tuple[Any, Answer]:
        async def failing() -> Any:
            seen = []
            try:
                async for response in stream(client, text_input="[sim:fail]", stream=True):
                    seen.append(response["content"])
            except Exception as error:
                return "".join(seen), str(error)

        async def healthy() -> Answer:
            return Answer([one async for one in stream(client, text_input="[sim:think]", max_tokens=200)])

        return await asyncio.gather(failing(), healthy())

    (text, message), answer = run_with(simulated_server.grpc_address, use)
    assert text == "This answer "
    assert "fails after 12 tokens" in message
    assert answer.text("content") == "The answer is 4."
    wait_until(lambda: nothing_left(simulated_server))


def test_over_the_limit_is_refused_at_once_and_room_comes_back(simulated_server: Server) -> None:
    """4 run, 4 wait, the ninth is refused."""

    async def use(client: aioclient.InferenceServerClient) -> Any:
        inputs: dict[str, Any] = {"text_input": RANDOM, "max_tokens": 10_000, "stream": True}

        async def consume(request_id: str) -> int:
            return len([one async for one in stream(client, request_id, **inputs)])

        names = [f"full-{number}" for number in range(8)]
        tasks = [asyncio.create_task(consume(name)) for name in names]
        deadline = time.monotonic() + 60
        while simulated_server.metric(IN_FLIGHT) < 8:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        begin = time.monotonic()
        with pytest.raises(Exception, match="8 requests in flight") as caught:
            async for _ in stream(client, **inputs):
                pass
        with Client(simulated_server.grpc_url, max_retries=0) as ours, pytest.raises(OverloadedError):
            ours.chat([{"role": "user", "content": "Hi"}])
        refused_after = time.monotonic() - begin
        for name in names:
            async for reply in stream(client, name, model="tensorrt_llm", stop=True):
                assert reply["finish_reason"] == "cancelled"
        assert all(count > 0 for count in await asyncio.gather(*tasks))
        return caught.value, refused_after

    error, refused_after = run_with(simulated_server.grpc_address, use)
    assert str(error).endswith("(UNAVAILABLE)")
    assert refused_after < 50  # they run for 100 s
    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2


def test_stop_request_cancels_and_keeps_the_partial_text(simulated_server: Server) -> None:
    async def use(client: aioclient.InferenceServerClient) -> tuple[list[Any], float]:
        responses, stopped_at = [], 0.0
        async for response in stream(client, "cancel-me", text_input=RANDOM, max_tokens=10_000, stream=True):
            responses.append(response)
            if len(responses) == 3:
                stopped_at = time.monotonic()
                async for reply in stream(client, "cancel-me", model="tensorrt_llm", stop=True):
                    assert reply["finish_reason"] == "cancelled"
        return responses, time.monotonic() - stopped_at

    responses, seconds = run_with(simulated_server.grpc_address, use)
    assert responses[-1]["finish_reason"] == "cancelled"
    assert 0 < responses[-1]["num_output_tokens"][0] < 10_000
    assert seconds < 20
    wait_until(lambda: nothing_left(simulated_server))


def test_stopping_an_unknown_request_says_so(simulated_server: Server) -> None:
    async def use(client: aioclient.InferenceServerClient) -> Any:
        return [one async for one in stream(client, "nobody", model="tensorrt_llm", stop=True)]

    (reply,) = run_with(simulated_server.grpc_address, use)
    assert reply["finish_reason"] == ""


def test_deadline_gives_the_partial_text(simulated_server: Server) -> None:
    begin = time.monotonic()
    answer = simulated_server.generate(text_input=RANDOM, max_tokens=100_000, timeout_ms=1000)
    assert answer["finish_reason"] == "timeout"
    assert answer["num_output_tokens"] > 5
    assert time.monotonic() - begin < 60


def test_a_client_that_left_leaves_nothing_behind(simulated_server: Server) -> None:
    """Triton does not tell the models: our client sends the stop, a deadline bounds what others abandon."""
    with Client(simulated_server.grpc_url, sessions=0) as client, contextlib.ExitStack() as stack:
        chat = stack.enter_context(client.stream_chat([{"role": "user", "content": RANDOM}], max_tokens=100_000))
        next(iter(chat))
        wait_until(lambda: simulated_server.metric(POST_STREAMS) == 1)
        stack.close()
        wait_until(lambda: nothing_left(simulated_server))

    async def abandon(client: aioclient.InferenceServerClient) -> None:
        async for _ in stream(client, text_input=RANDOM, max_tokens=100_000, timeout_ms=1500, stream=True):
            return

    run_with(simulated_server.grpc_address, abandon)
    wait_until(lambda: nothing_left(simulated_server))


def test_a_token_level_client_that_left_is_noticed(simulated_server: Server) -> None:
    async def use(client: aioclient.InferenceServerClient) -> None:
        ids = grpcclient.InferInput("input_ids", [1, 2], "INT32")
        ids.set_data_from_numpy(np.array([[10, 11]], np.int32))
        inputs = [ids, tensor("request_output_len", 100_000), tensor("streaming", True)]

        async def requests() -> Any:
            yield {"model_name": "tensorrt_llm", "inputs": inputs}

        responses = client.stream_infer(requests())
        await responses.__anext__()
        responses.cancel()

    run_with(simulated_server.grpc_address, use)
    wait_until(lambda: nothing_left(simulated_server))
