"""Cancelling in every state of a request, and many times, through a real Triton."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from typing import Any

import pytest
import tritonclient.grpc.aio as aioclient

from tests.integration.conftest import Server
from tests.integration.test_failures import RANDOM, nothing_left, wait_until
from tests.integration.triton_calls import stream

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
FREED_S = 0.2
TRIES = 5


async def cancel(client: aioclient.InferenceServerClient, request_id: str) -> str:
    """Send the stop request; returns what it answers."""
    (reply,) = [one async for one in stream(client, request_id, model="tensorrt_llm", stop=True)]
    return str(reply["finish_reason"])


async def running(server: Server, count: int) -> None:
    deadline = time.monotonic() + 10
    while server.metric("nemotron_requests_running") != count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("state", STATES)
def test_a_cancelled_request_gives_its_place_to_one_that_waits(
    simulated_server: Server, state: str, streaming: bool
) -> None:
    """Four run and one waits; the median of several tries, for the machine may be busy."""

    async def once(client: aioclient.InferenceServerClient, number: int) -> float:
        async def consume(request_id: str, **inputs: Any) -> tuple[str, float]:
            first, reason = 0.0, ""
            async for response in stream(client, request_id, max_tokens=1500, **inputs):
                first = first or time.monotonic()
                reason = response["finish_reason"]
            return reason, first

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
        assert (await cancelled)[0] == "cancelled"
        await asyncio.sleep(0.3)
        for name in (f"next-{number}", *(f"other-{number}-{index}" for index in range(3))):
            await cancel(client, name)
        first_token = (await waiting)[1]
        await asyncio.gather(*others)
        return first_token - begin

    async def run() -> list[float]:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:
            return [await once(client, number) for number in range(TRIES)]

    took = asyncio.run(run())
    # The first token of the next request is 20 ms of prefill behind the place it took.
    assert statistics.median(took) < FREED_S + 0.02, took
    wait_until(lambda: nothing_left(simulated_server), 5)


def test_a_request_that_waits_is_cancelled_at_once(simulated_server: Server) -> None:
    async def run() -> float:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:

            async def consume(request_id: str) -> str:
                reason = ""
                async for response in stream(client, request_id, text_input=RANDOM, max_tokens=1500, stream=True):
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

    assert asyncio.run(run()) < FREED_S
    wait_until(lambda: nothing_left(simulated_server), 5)


def test_five_hundred_cancels_at_random_moments(simulated_server: Server) -> None:
    """Dropped connections and stop requests, in every phase: the server goes on and nothing is left."""
    chosen = random.Random(500)

    async def run() -> None:
        async with aioclient.InferenceServerClient(simulated_server.grpc_address) as client:

            async def consume(request_id: str, streaming: bool, state: str) -> None:
                inputs = {"max_tokens": 1500, "stream": streaming, **STATES[state]}
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
    wait_until(lambda: nothing_left(simulated_server), 10)
    assert simulated_server.generate(text_input="Hi", max_tokens=2)["num_output_tokens"] == 2
    assert simulated_server.info["restarts"] == 0
