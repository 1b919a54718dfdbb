"""The model `unary`: the ensemble for clients that only know infer, through a real Triton with the simulated engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.grpc.aio import InferenceServerClient as Client
from tritonclient.utils import np_to_triton_dtype

from tests.integration.conftest import Server, serving
from tests.integration.triton_calls import ask, stream, tensors, values_of
from tests.waiting import allowed, wait_until

TTFT_S = 0.05
PLACES, WAITING = 32, 32
RANDOM = "[sim:random]"  # tokens until max_tokens
LONG: dict[str, Any] = {"text_input": RANDOM, "max_tokens": 20_000}  # 100 s
IN_FLIGHT = "nemotron_requests_in_flight"
POST_STREAMS = "nemotron_postprocessing_streams"


@pytest.fixture(scope="module")
def server(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    package = simulated_package(
        "--ttft-ms", str(TTFT_S * 1000), "--token-ms", "5",
        "--max-batch-size", str(PLACES), "--max-waiting", str(WAITING),
    )  # fmt: skip
    with serving(package, tmp_path_factory.mktemp("unary")) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_left(server: Server) -> Iterator[None]:
    yield
    wait_until(lambda: server.metric(IN_FLIGHT) == 0 == server.metric(POST_STREAMS))
    assert server.info["restarts"] == 0


async def in_flight(server: Server, count: int) -> None:
    deadline = time.monotonic() + 20
    while server.metric(IN_FLIGHT) != count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def run_with(server: Server, use: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with Client(server.grpc_address) as client:
            return await use(client)

    return asyncio.run(run())


async def infer(client: Client, request_id: str = "", **inputs: Any) -> dict[str, Any]:
    return values_of(await client.infer("unary", tensors(**inputs), request_id=request_id))


def refusal(server: Server, **inputs: Any) -> tuple[str, str]:
    """Message and gRPC status."""
    with grpcclient.InferenceServerClient(server.grpc_address) as client:
        with pytest.raises(grpcclient.InferenceServerException) as caught:
            client.infer("unary", tensors(**inputs))
        return str(caught.value.message()), str(caught.value.status())


def http_infer(server: Server, **inputs: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a plain HTTP request."""
    kinds = {str: "BYTES", int: "INT32", bool: "BOOL", float: "FP32"}
    given = [
        {"name": name, "shape": [1, 1], "datatype": kinds[type(value)], "data": [value]}
        for name, value in inputs.items()
    ]
    status, body = server.post("/v2/models/unary/infer", {"inputs": given})
    return status, json.loads(body)


MESSAGES = json.dumps(
    [
        {"role": "system", "content": "ตอบสั้น ๆ"},
        {"role": "user", "content": "สวัสดีครับ น้ำ"},
        {"role": "assistant", "content": "नमस्ते दुनिया, क्षत्रिय"},
        {"role": "user", "content": "[sim:unicode] 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇹🇭"},
    ],
    ensure_ascii=False,
)
QUESTIONS: list[dict[str, Any]] = [
    {"text_input": "Hi", "max_tokens": 5},
    {"text_input": "[sim:think]", "thinking": True, "max_tokens": 200, "stream": False},
    {"messages": MESSAGES, "max_tokens": 200},
    {"text_input": RANDOM, "max_tokens": 20, "seed": 7, "stop_words": ["\x00", "\x01"]},
]


@pytest.mark.parametrize("inputs", QUESTIONS, ids=["text", "thinking", "messages", "lists"])
def test_every_client_gets_the_fields_of_the_ensemble(server: Server, inputs: dict[str, Any]) -> None:
    expected = asyncio.run(ask(server.grpc_address, **inputs)).last
    assert expected["finish_reason"]
    assert run_with(server, lambda client: infer(client, **inputs)) == expected
    with grpcclient.InferenceServerClient(server.grpc_address) as client:
        result = client.infer("unary", tensors(**inputs), request_id="mine")
        assert values_of(result) == expected
        assert result.get_response().id == "mine"
    with httpclient.InferenceServerClient(server.http_url.removeprefix("http://")) as over_http:
        outputs = over_http.infer("unary", [http_tensor(*item) for item in inputs.items()])
        for name, value in expected.items():
            array = outputs.as_numpy(name)
            assert (array.item().decode() if isinstance(value, str) else array.ravel().tolist()) == value, name


def http_tensor(name: str, value: Any) -> httpclient.InferInput:
    """An input for the HTTP client, which has a class of its own."""
    values = value if isinstance(value, list) else [value]
    kinds: dict[type, Any] = {bool: np.bool_, int: np.int32, str: np.object_}
    dtype = np.uint64 if name == "seed" else kinds[type(values[0])]
    array = np.array([[one.encode() if isinstance(one, str) else one for one in values]], dtype)
    result = httpclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    result.set_data_from_numpy(array)
    return result


def test_only_the_outputs_that_were_asked_for(server: Server) -> None:
    with grpcclient.InferenceServerClient(server.grpc_address) as client:
        wanted = [grpcclient.InferRequestedOutput(name) for name in ("num_output_tokens", "content")]
        result = client.infer("unary", tensors(text_input="Hi", max_tokens=4), outputs=wanted)
    assert values_of(result) == {"num_output_tokens": [4], "content": "This"}


def test_only_an_output_that_the_answer_does_not_have(server: Server) -> None:
    with grpcclient.InferenceServerClient(server.grpc_address) as client:
        asked = [grpcclient.InferRequestedOutput("cum_log_probs")]
        result = client.infer("unary", tensors(text_input="Hi", max_tokens=2), outputs=asked)
        assert list(result.get_response().outputs) == []


def test_as_many_at_once_as_the_engine_runs(server: Server) -> None:
    inputs: dict[str, Any] = {"text_input": RANDOM, "max_tokens": 150}

    async def seconds(client: Client, count: int) -> float:
        begin = time.monotonic()
        answers = await asyncio.gather(*(infer(client, **inputs) for _ in range(count)))
        assert all(answer["num_output_tokens"] == [150] for answer in answers)
        return time.monotonic() - begin

    async def use(client: Client) -> tuple[float, float]:
        return await seconds(client, 1), await seconds(client, PLACES)

    alone, together = run_with(server, use)
    assert together < 2 * alone


BAD_INPUTS: list[dict[str, Any]] = [
    {"max_tokens": 5},
    {"text_input": "a", "max_tokens": 0},
    {"text_input": "a", "temperature": -1.0},
    {"messages": "ไม่ใช่ JSON"},
    {"text_input": "a", "beam_width": 4},
]


@pytest.mark.parametrize("inputs", BAD_INPUTS, ids=[str(n) for n in range(len(BAD_INPUTS))])
def test_bad_input_gets_the_error_of_the_ensemble(server: Server, inputs: dict[str, Any]) -> None:
    _, body = server.post("/v2/models/ensemble/generate", inputs)
    expected = json.loads(body)["error"]
    assert expected.endswith("(INVALID_ARGUMENT)")
    assert refusal(server, **inputs) == (expected, "StatusCode.INVALID_ARGUMENT")
    assert http_infer(server, **inputs) == (400, {"error": expected})


@pytest.mark.parametrize("value", [0.5, 1, "x", True])
def test_a_name_that_is_no_input_is_refused(server: Server, value: Any) -> None:
    """Over HTTP's /generate, which works with this model too."""
    status, body = server.post("/v2/models/unary/generate", {"text_input": "Hi", "temprature": value})
    assert status == 400
    assert "temprature: this model has no such input; did you mean temperature?" in body


def test_a_stream_is_refused_by_name(server: Server) -> None:
    message, status = refusal(server, text_input="Hi", stream=True)
    assert message.startswith("stream: ")
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert http_infer(server, text_input="Hi", stream=True) == (400, {"error": message})


def test_an_engine_error_is_passed_on(server: Server) -> None:
    message, status = refusal(server, text_input="[sim:fail]", max_tokens=50)
    assert "fails after 12 tokens" in message
    assert message.endswith("(INTERNAL)")
    assert status == "StatusCode.INTERNAL"
    assert http_infer(server, text_input="[sim:fail]", max_tokens=50)[0] == 500


@pytest.mark.parametrize("unary", [PLACES + WAITING, 20])
def test_one_too_many_is_refused_at_once(server: Server, unary: int) -> None:
    """By this model itself, or by the generating one when streams take the rest of its places."""

    async def consume(client: Client, number: int) -> None:
        async for _ in stream(client, f"full-{number}", stream=True, **LONG):
            pass

    async def use(client: Client) -> tuple[tuple[str, str], int, float]:
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(infer(client, f"full-{number}", **LONG)) for number in range(unary)
        ]
        numbers = range(unary, PLACES + WAITING)
        tasks += [asyncio.create_task(consume(client, number)) for number in numbers]
        await in_flight(server, PLACES + WAITING)
        begin = time.monotonic()
        over_grpc = await asyncio.to_thread(refusal, server, text_input="Hi")
        over_http, _ = await asyncio.to_thread(http_infer, server, text_input="Hi")
        seconds = time.monotonic() - begin
        await asyncio.gather(*(stop(client, f"full-{number}") for number in range(PLACES + WAITING)))
        await asyncio.gather(*tasks)
        return over_grpc, over_http, seconds

    (message, status), http_status, seconds = run_with(server, use)
    assert f"{PLACES + WAITING} " in message
    assert message.endswith("(UNAVAILABLE)")
    assert status == "StatusCode.UNAVAILABLE"
    assert http_status == 503
    assert seconds < 60  # they run for 100 s


async def stop(client: Client, request_id: str) -> None:
    async for reply in stream(client, request_id, model="tensorrt_llm", stop=True):
        assert reply["finish_reason"] == "cancelled"


def test_a_stop_request_ends_a_call_with_what_it_has(server: Server) -> None:
    async def use(client: Client) -> Any:
        call = asyncio.create_task(infer(client, "stop-me", **LONG))
        await in_flight(server, 1)
        await stop(client, "stop-me")
        return await call

    answer = run_with(server, use)
    assert answer["finish_reason"] == "cancelled"
    assert 0 <= answer["num_output_tokens"][0] < LONG["max_tokens"]


def test_a_cancelled_call_frees_its_place_within_200_ms(server: Server) -> None:
    """The next one waits for the place: its first token comes one TTFT later."""

    async def use(client: Client) -> list[float]:
        running = [asyncio.create_task(infer(client, "" if number % 2 else f"leave-{number}", **LONG))
                   for number in range(PLACES)]  # fmt: skip
        await in_flight(server, PLACES)
        seconds = []
        for number in range(5):
            waiting = asyncio.create_task(infer(client, text_input="Hi", max_tokens=1))
            await in_flight(server, PLACES + 1)
            begin = time.monotonic()
            running[number].cancel()
            assert (await waiting)["num_output_tokens"] == [1]
            seconds.append(time.monotonic() - begin - TTFT_S)
            running.append(asyncio.create_task(infer(client, **LONG)))
            await in_flight(server, PLACES)
        for call in running:
            call.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return seconds

    assert statistics.median(run_with(server, use)) < allowed(0.2)


@pytest.mark.parametrize("request_id", ["", "mine"])
def test_a_blocking_client_that_cancels_or_runs_out_of_time(server: Server, request_id: str) -> None:
    with grpcclient.InferenceServerClient(server.grpc_address) as client:
        answers: list[Any] = []
        call = client.async_infer(
            "unary", tensors(**LONG), lambda result, error: answers.append((result, error)), request_id=request_id
        )
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        call.cancel()
        wait_until(lambda: server.metric(IN_FLIGHT) == 0)
        ((result, error),) = answers
        assert result is None
        assert error.status() == "StatusCode.CANCELLED"
        with pytest.raises(grpcclient.InferenceServerException, match="Deadline"):
            client.infer("unary", tensors(**LONG), request_id=request_id, client_timeout=0.5)
        wait_until(lambda: server.metric(IN_FLIGHT) == 0)


def test_what_an_http_client_abandons_ends_at_its_deadline(server: Server) -> None:
    """Triton does not tell that a connection was closed."""
    inputs = [
        {"name": "text_input", "shape": [1, 1], "datatype": "BYTES", "data": [RANDOM]},
        {"name": "max_tokens", "shape": [1, 1], "datatype": "INT32", "data": [LONG["max_tokens"]]},
        {"name": "timeout_ms", "shape": [1, 1], "datatype": "INT32", "data": [2500]},
    ]
    body = json.dumps({"inputs": inputs}).encode()
    address = urlsplit(server.http_url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as connection:
        head = f"POST /v2/models/unary/infer HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
    wait_until(lambda: server.metric(IN_FLIGHT) == 0)


def test_cancels_at_random_moments(server: Server) -> None:
    chosen = random.Random(5)
    moments = [chosen.uniform(0, 0.4) for _ in range(200)]

    async def use(client: Client) -> None:
        async def leave(number: int) -> None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(infer(client, f"storm-{number}" if number % 2 else "", **LONG), moments[number])

        # Half of the places at a time: those of the half before may not be free yet.
        for begin in range(0, len(moments), PLACES // 2):
            await asyncio.gather(*map(leave, range(len(moments))[begin : begin + PLACES // 2]))

    run_with(server, use)
    wait_until(lambda: server.metric(IN_FLIGHT) == 0)
    assert run_with(server, lambda client: infer(client, text_input="Hi", max_tokens=2))["num_output_tokens"] == [2]


def test_all_callers_leave_at_once_again_and_again(server: Server) -> None:
    """What is let go of then has to be let go of with Python's lock held: without, this model's process dies."""

    async def use(client: Client) -> None:
        for _ in range(15):
            leaving = [asyncio.create_task(infer(client, **LONG)) for _ in range(PLACES)]
            await in_flight(server, PLACES)
            waiting = [asyncio.create_task(infer(client, text_input="Hi", max_tokens=1)) for _ in range(WAITING - 4)]
            await in_flight(server, PLACES + WAITING - 4)
            for call in leaving:
                call.cancel()
            assert all(answer["num_output_tokens"] == [1] for answer in await asyncio.gather(*waiting))
            await in_flight(server, 0)

    run_with(server, use)


def test_the_launcher_waits_for_it_and_watches_it(server: Server) -> None:
    assert "unary" in server.info["model_pids"]
    assert server.log.read_text().count("successfully loaded 'unary'") == 1
