"""Envoy's limits of time for what stays open long: which of them a client does not notice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nemotron_client import AsyncClient, ServerUnavailableError
from tests.balancer.callers import RANDOM, calling
from tests.balancer.envoy import balancing
from tests.integration.conftest import Server

IDLE = "stream_idle_timeout: 0s"
STALL = [{"role": "user", "content": "[sim:stall]"}]  # two seconds of silence in the middle


def with_limit(name: str) -> dict[str, str]:
    return {IDLE: f"{IDLE}\n                common_http_protocol_options: {{{name}: 2s}}"}


def test_a_session_that_was_quiet_for_too_long_is_replaced(replicas: list[Server], tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncClient(balancer.url) as client:
            for _ in range(3):
                assert (await client.chat(RANDOM, max_tokens=5)).finish_reason == "length"
                await asyncio.sleep(2)

    with balancing(replicas, tmp_path, {IDLE: "stream_idle_timeout: 1s"}) as balancer:
        asyncio.run(run())


def test_an_answer_that_pauses_for_too_long_is_lost(replicas: list[Server], tmp_path: Path) -> None:
    """Therefore the limit is off in the configuration that is shown."""

    async def run() -> None:
        async with AsyncClient(balancer.url) as client:
            with pytest.raises(ServerUnavailableError):
                await client.chat(STALL)
            assert (await client.chat(RANDOM, max_tokens=5)).finish_reason == "length"

    with balancing(replicas, tmp_path, {IDLE: "stream_idle_timeout: 1s"}) as balancer:
        asyncio.run(run())


@pytest.mark.parametrize("limit", ["max_connection_duration", "max_stream_duration"])
def test_a_limit_above_the_age_of_sessions_is_not_noticed(replicas: list[Server], tmp_path: Path, limit: str) -> None:
    async def run() -> None:
        async with AsyncClient(balancer.url, sessions=2, session_max_age_s=0.5) as client:
            async with calling(client, 8, 10) as callers:
                await asyncio.sleep(6)
            assert not callers.errors
            assert len(callers.answers) > 20

    with balancing(replicas, tmp_path, with_limit(limit)) as balancer:
        asyncio.run(run())
