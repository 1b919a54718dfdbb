"""Batches against a real Triton: bounded, apart from each other, and nothing left running when stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from nemotron_client import AsyncClient, BatchItem, BatchResult, Client, ServerError, UserMessage
from tests.integration.conftest import Server
from tests.integration.test_failures import IN_FLIGHT, nothing_left
from tests.waiting import wait_until

ENDLESS = 100_000  # tokens
Run = Callable[..., list[BatchResult]]


def run_sync(url: str, conversations: Any, **options: Any) -> list[BatchResult]:
    with Client(url) as client:
        return list(client.batch(conversations, **options))


def run_async(url: str, conversations: Any, **options: Any) -> list[BatchResult]:
    async def run() -> list[BatchResult]:
        async with AsyncClient(url) as client:
            return [result async for result in client.batch(conversations, **options)]

    return asyncio.run(run())


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    kind: Run = request.param
    return kind


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_batch_is_answered_in_order_and_its_failures_stand_apart(
    simulated_server: Server, run: Run, scheme: str
) -> None:
    url = simulated_server.grpc_url if scheme == "grpc" else simulated_server.http_url
    items: list[Any] = [[UserMessage(f"Question {number}")] for number in range(20)]
    items[7] = [UserMessage("[sim:fail]")]
    items[11] = BatchItem([UserMessage("Short")], {"max_tokens": 2})
    results = run(url, items, concurrency=8, max_tokens=30)
    assert [result.index for result in results] == list(range(20))
    assert isinstance(results[7].error, ServerError)
    lengths = [result.reply.usage.output_tokens if result.reply else 0 for result in results]
    assert (lengths[7], lengths[11]) == (0, 2)
    assert {length for index, length in enumerate(lengths) if index not in (7, 11)} == {30}


def test_a_small_server_is_not_overrun(simulated_server: Server, run: Run) -> None:
    # Room for 4, and for 4 that wait: more at the same time would be refused.
    conversations = [[UserMessage("Hi")] for _ in range(24)]
    results = run(simulated_server.grpc_url, conversations, concurrency=8, in_order=False, max_tokens=5)
    assert [result.error for result in results] == [None] * 24


def test_stopping_early_frees_the_server(simulated_server: Server) -> None:
    conversations = [[UserMessage("Hi")], *[[UserMessage("[sim:random]")]] * 10]
    limits = [5, *[ENDLESS] * 10]
    items = [BatchItem(one, {"max_tokens": limit}) for one, limit in zip(conversations, limits, strict=True)]
    with Client(simulated_server.grpc_url) as client:
        results = client.batch(items, concurrency=6)
        assert next(results).index == 0
        wait_until(lambda: simulated_server.metric(IN_FLIGHT) >= 4)
        results.close()
        wait_until(lambda: nothing_left(simulated_server))


def test_stopping_early_frees_the_server_with_asyncio(simulated_server: Server) -> None:
    async def run() -> None:
        conversations = [[UserMessage("[sim:random]")]] * 10
        async with AsyncClient(simulated_server.http_url) as client:
            async with contextlib.aclosing(client.batch(conversations, concurrency=6, max_tokens=ENDLESS)) as results:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(anext(results), 0.5)
            await asyncio.to_thread(wait_until, lambda: nothing_left(simulated_server), 10)

    asyncio.run(run())
