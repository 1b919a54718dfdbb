"""Cancelling in every state of a request, and many times, through a real Triton."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx2
import pytest
import tritonclient.grpc.aio as aioclient

from tests.integration.conftest import Server
from tests.integration.test_failures import RANDOM, nothing_left
from tests.integration.triton_calls import stream
from tests.waiting import allowed, wait_until

STATES: dict[str, dict[str, Any]] = {
    "thinking": {"text_input": f"{RANDOM}<think>\n", "raw_prompt": True},
    "answer": {"text_input": RANDOM},
    # The budget closes the thinking at once, so the answer is a second phase.
    "answer after the budget": {
        "text_input": f"{RANDOM}<think>\n",
        "raw_prompt": True,
        "max_thinking_tokens": 1,
    },
}
FREED_S = 0.2  # where nothing else runs; requests that are not cancelled run for 100 s
TRIES = 5


async def cancel(client: aioclient.InferenceServerClient, request_id: str) -> str:
    """Send the stop request; returns what it answers."""
    (reply,) = [one async for one in stream(client, request_id, model="tensorrt_llm", stop=True)]
    return str(reply["finish_reason"])


async def running(server: Server, count: int, metric: str = "nemotron_requests_running") -> None:
    deadline = time.monotonic() + 60
    while server.metric(metric) != count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("state", STATES)
def test_a_cancelled_request_gives_its_place_to_one_that_waits(
    simulated_server: Server, state: str, streaming: bool
) -> None:
    """Four run and one waits; the median of several tries, for the machine may be busy."""

    async def once(client: aioclient.InferenceServerClient, number: int) -> float:
        begun: dict[str, float] = {}  # when each had its first response

        async def consume(request_id: str, **inputs: Any) -> str:
            reason = ""
            async for response in stream(client, request_id, max_tokens=10_000, **inputs):
                begun.setdefault(request_id, time.monotonic())
                reason = response["finish_reason"]
            return reason

        others = [
            asyncio.create_task(consume(f"other-{number}-{index}", text_input=RANDOM, stream=True))
            for index in range(3)
        ]
        cancelled = asyncio.create_task(consume(f"it-{number}", stream=streaming, **STATES[state]))
        await running(simulated_server, 4)
        waiting = asyncio.create_task(consume(f"next-{number}", text_input=RANDOM, stream=True))
        await asyncio.sleep(0.15)
        assert not waiting.done()
        begin = time.monotonic()
        assert await cancel(client, f"it-{number}") == "cancelled"
        assert await cancelled == "cancelled"
        async with asyncio.timeout(10):
            while f"next-{number}" not in begun:
                await asyncio.sleep(0.01)
        for name in (f"next-{number}", *(f"other-{number}-{index}" for index in range(3))):
            await cancel(client, name)
        await asyncio.gather(waiting, *others)
        return begun[f"next-{number}"] - begin

    async def run() -> list[float]:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:
            return [await once(client, number) for number in range(TRIES)]

    took = asyncio.run(run())
    # The first token of the next request is 20 ms of prefill behind the place it took.
    assert statistics.median(took) < allowed(FREED_S) + 0.02, took
    wait_until(lambda: nothing_left(simulated_server))


def test_a_request_that_waits_is_cancelled_at_once(simulated_server: Server) -> None:
    async def run() -> float:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:

            async def consume(request_id: str) -> str:
                reason = ""
                async for response in stream(client, request_id, text_input=RANDOM, max_tokens=10_000, stream=True):
                    reason = response["finish_reason"]
                return reason

            names = [f"busy-{number}" for number in range(4)]
            others = [asyncio.create_task(consume(name)) for name in names]
            await running(simulated_server, 4)
            waiting = asyncio.create_task(consume("waits"))
            await asyncio.sleep(0.1)
            begin = time.monotonic()
            assert await cancel(client, "waits") == "cancelled"
            assert await waiting == "cancelled"
            took = time.monotonic() - begin
            assert not any(task.done() for task in others)
            for name in names:
                await cancel(client, name)
            await asyncio.gather(*others)
            return took

    assert asyncio.run(run()) < allowed(FREED_S)
    wait_until(lambda: nothing_left(simulated_server))


def test_five_hundred_cancels_at_random_moments(simulated_server: Server) -> None:
    """Dropped connections and stop requests, in every phase: the server goes on and nothing is left."""
    chosen = random.Random(500)

    async def run() -> None:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:

            async def consume(request_id: str, streaming: bool, state: str) -> None:
                inputs = {"max_tokens": 10_000, "stream": streaming, **STATES[state]}
                async for _ in stream(client, request_id, **inputs):
                    pass

            async def one(number: int) -> None:
                name = f"storm-{number}"
                task = consume(name, chosen.random() < 0.5, chosen.choice(list(STATES)))
                with contextlib.suppress(Exception):  # cancelled here, refused, or ended by the stop
                    await asyncio.wait_for(task, chosen.random() * 0.3)
                with contextlib.suppress(Exception):
                    await cancel(client, name)

            for begin in range(0, 500, 20):
                await asyncio.gather(*(one(number) for number in range(begin, begin + 20)))

    asyncio.run(run())
    wait_until(lambda: nothing_left(simulated_server))
    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2
    assert simulated_server.info["restarts"] == 0


async def http_responses(
    client: httpx2.AsyncClient, request_id: str, model: str = "ensemble", **inputs: Any
) -> AsyncIterator[dict[str, Any]]:
    """The responses of one request over HTTP, which says its id beside its inputs."""
    path = "generate_stream" if inputs.get("stream") else "generate"
    body = {"id": request_id, **inputs}
    async with client.stream("POST", f"/v2/models/{model}/{path}", json=body) as response:
        async for line in response.aiter_lines():
            if line:
                yield json.loads(line.removeprefix("data: "))


async def http_last(client: httpx2.AsyncClient, request_id: str, **inputs: Any) -> dict[str, Any]:
    return [response async for response in http_responses(client, request_id, **inputs)][-1]


async def http_cancel(client: httpx2.AsyncClient, request_id: str) -> str:
    return str((await http_last(client, request_id, model="tensorrt_llm", stop=True))["finish_reason"])


@pytest.mark.parametrize(("model", "streaming"), [("ensemble", True), ("ensemble", False), ("unary", False)])
def test_a_request_over_http_is_cancelled_by_its_id(simulated_server: Server, model: str, streaming: bool) -> None:
    """Four run and one waits, which gets the place; the median of several tries."""
    long: dict[str, Any] = {"text_input": RANDOM, "max_tokens": 10_000, "stream": streaming}

    async def once(client: httpx2.AsyncClient, number: int) -> float:
        names = [f"http-{number}-{index}" for index in range(4)]
        calls = [asyncio.create_task(http_last(client, name, model=model, **long)) for name in names]
        await running(simulated_server, 4)
        waiting = asyncio.create_task(http_last(client, f"http-next-{number}", text_input="Hi", max_tokens=1))
        await running(simulated_server, 1, "nemotron_requests_waiting")
        begin = time.monotonic()
        assert await http_cancel(client, names[0]) == "cancelled"
        assert (await waiting)["finish_reason"] == "length"
        took = time.monotonic() - begin
        for name in names[1:]:
            assert await http_cancel(client, name) == "cancelled"
        for answer, name in zip(await asyncio.gather(*calls), names, strict=True):
            assert (answer["finish_reason"], answer["id"]) == ("cancelled", name)
        await running(simulated_server, 0)
        return took

    async def run() -> list[float]:
        async with httpx2.AsyncClient(base_url=simulated_server.http_url, timeout=30) as client:
            return [await once(client, number) for number in range(TRIES)]

    took = asyncio.run(run())
    assert statistics.median(took) < allowed(FREED_S) + 0.02, took
    wait_until(lambda: nothing_left(simulated_server))


@pytest.mark.parametrize("way", ["gRPC cancel", "gRPC channel closed", "HTTP connection closed"])
def test_a_caller_of_the_ensemble_that_leaves_its_stream_frees_its_place(simulated_server: Server, way: str) -> None:
    """Without an id that a stop could name, and with a deadline far away."""
    inputs: dict[str, Any] = {"text_input": RANDOM, "max_tokens": 10_000, "stream": True}

    async def leave_grpc() -> None:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:
            call = stream(client, "", **inputs)
            await anext(call)
            if way == "gRPC cancel":
                assert isinstance(call, AsyncGenerator)
                await call.aclose()

    async def leave_http() -> None:
        async with (
            httpx2.AsyncClient(base_url=simulated_server.http_url, timeout=30) as client,
            client.stream("POST", "/v2/models/ensemble/generate_stream", json=inputs) as response,
        ):
            await anext(response.aiter_lines())

    async def run() -> None:
        await asyncio.gather(*(leave_http() if "HTTP" in way else leave_grpc() for _ in range(4)))

    asyncio.run(run())
    # Else they would run for 15 s.
    wait_until(lambda: nothing_left(simulated_server), allowed(1.0))
    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2


def test_a_stop_may_overtake_its_request_and_come_another_way(simulated_server: Server) -> None:
    """Over HTTP as over gRPC: an id is the same whichever way it came."""

    async def run() -> None:
        async with (
            httpx2.AsyncClient(base_url=simulated_server.http_url, timeout=30) as http,
            aioclient.InferenceServerClient(simulated_server.grpc_address) as grpc,
        ):
            long: dict[str, Any] = {"text_input": RANDOM, "max_tokens": 10_000, "stream": True}
            assert await http_cancel(http, "early-1") == ""
            assert (await http_last(http, "early-1", **long))["finish_reason"] == "cancelled"
            assert await cancel(grpc, "early-2") == ""
            assert (await http_last(http, "early-2", **long))["finish_reason"] == "cancelled"
            assert await http_cancel(http, "early-3") == ""
            assert [one async for one in stream(grpc, "early-3", **long)][-1]["finish_reason"] == "cancelled"

    asyncio.run(run())


@pytest.mark.parametrize("model", ["ensemble", "unary"])
def test_errors_and_the_log_name_the_id_that_came_over_http(simulated_server: Server, model: str) -> None:
    for request_id in (f"{model}-17", "ไทย-😀"):
        body = {"text_input": "[sim:fail]", "max_tokens": 50, "id": request_id}
        _, answer = simulated_server.post(f"/v2/models/{model}/generate", body)
        assert f"request '{request_id}': The script fails" in json.loads(answer)["error"]
    wait_until(lambda: f"request '{model}-17'" in simulated_server.log.read_text())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"id": "x" * 257}, "id: 257 characters were given, expected at most 256 (INVALID_ARGUMENT)"),
        ({"parameters": {"id": "elsewhere"}}, "id: it did not become the request's id"),
        ({"id": 12}, "Unable to parse 'id'"),
        ({"id": None}, "Unable to parse 'id'"),
    ],
    ids=["long", "parameter", "number", "null"],
)
@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm", "unary"])
def test_an_id_that_cannot_be_one_is_refused(
    simulated_server: Server, model: str, body: dict[str, Any], message: str
) -> None:
    inputs: dict[str, Any] = {"stop": True} if model == "tensorrt_llm" else {"text_input": "Hi", "max_tokens": 2}
    status, answer = simulated_server.post(f"/v2/models/{model}/generate", inputs | body)
    assert status in (400, 500)
    assert message in json.loads(answer)["error"]
