"""A shutdown, as everybody sees it who waits for an answer or asks meanwhile, through a real Triton."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, ServerUnavailableError
from tests.integration.client.conftest import HI, RANDOM, Driven, connecting
from tests.integration.conftest import serving, status
from tests.integration.test_failures import IN_FLIGHT
from tests.integration.test_unary import infer, refusal, run_with
from tests.integration.triton_calls import ask
from tests.waiting import wait_until

DRAIN_S = 12
SHORT_TOKENS = 250  # 5 s: all that is asked is in flight by then, also on a busy machine
SHORT: dict[str, Any] = {"text_input": RANDOM[0]["content"], "max_tokens": SHORT_TOKENS}
LONG: dict[str, Any] = SHORT | {"max_tokens": 1900}  # 38 s


def test_what_runs_ends_or_is_cancelled_and_nothing_new_begins(
    simulated_package: Callable[..., Path], tmp_path: Path
) -> None:
    """Of one server, for each way to ask: it drains once. What is short ends by itself, what is long is cancelled."""
    with (
        serving(simulated_package("--token-ms", "20"), tmp_path, "--drain-seconds", str(DRAIN_S)) as server,
        connecting(Client, Driven) as both,
        ThreadPoolExecutor() as pool,
    ):
        health_url = server.info["health_url"]
        urls = [server.grpc_url, server.http_url]
        clients = [make(url, max_retries=0) for make in both for url in urls]
        assert [client.is_ready() for client in clients] == [True] * 4
        assert asyncio.run(are_ready(urls)) == [True, True]
        assert (status(f"{health_url}/live"), status(f"{health_url}/ready")) == (200, 200)

        streams = [client.stream_chat(RANDOM, max_tokens=SHORT_TOKENS) for client in clients[::2]]
        plain = pool.submit(lambda: asyncio.run(ask(server.grpc_address, stream=True, **SHORT)))
        unary, long = (pool.submit(run_with, server, functools.partial(infer, **inputs)) for inputs in (SHORT, LONG))
        for stream in streams:
            next(stream)
        wait_until(lambda: server.metric(IN_FLIGHT) == len(streams) + 3)

        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.ready_file.exists())
        assert (status(f"{health_url}/live"), status(f"{health_url}/ready")) == (200, 503)
        wait_until(lambda: not clients[0].is_ready())
        assert [client.is_ready() for client in clients] == [False] * 4
        assert asyncio.run(are_ready(urls)) == [False, False]
        for client in clients:
            with pytest.raises(ServerUnavailableError, match="shutting down"):
                client.wait_ready(0.1)
            with pytest.raises(ServerUnavailableError, match="shutting down"):
                client.chat(HI)
        assert [make([*urls]).is_live() for make in both] == [True, True]
        assert "shutting down" in server.post("/v2/models/ensemble/generate", {"text_input": "Hi"})[1]
        message, code = refusal(server, text_input="Hi")
        assert "shutting down" in message
        assert code == "StatusCode.UNAVAILABLE"

        for stream in streams:
            assert stream.get_final().finish_reason == "length"
        for last in (plain.result().last, unary.result()):
            assert (last["finish_reason"], last["num_output_tokens"]) == ("length", [SHORT_TOKENS])
        assert not long.done()
        assert long.result()["finish_reason"] == "cancelled"
        assert server.process.wait(60) == 0


async def are_ready(urls: list[str]) -> list[bool]:
    found = []
    for url in urls:
        async with AsyncClient(url) as client:
            found.append(await client.is_ready())
    return found
