"""A request is stopped at the replica that has it, and a caller that leaves is seen there, with Envoy in between."""

from __future__ import annotations

import asyncio
import functools
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tritonclient.grpc.aio as aioclient

from tests.balancer.conftest import BATCH
from tests.balancer.envoy import Balancer, Config, balancing, manager
from tests.balancer.reading import ENDLESS, sessions
from tests.integration.conftest import ROOT, Server
from tests.integration.triton_calls import stream
from tests.robustness.observing import IN_FLIGHT, nothing_left
from tests.waiting import allowed, wait_until

STOPS = 50
FREED_S = 0.2  # where nothing else runs
RUNNING = "nemotron_requests_running"


def test_each_stop_in_a_session_frees_its_place(
    balancer: Balancer, replicas: list[Server], figure: Callable[[str], None]
) -> None:
    """Every place is taken, so the first token of a request that waits shows that one is free."""
    took = []
    with sessions(balancer, len(replicas)) as opened:
        for session in opened:
            for number in range(BATCH + STOPS // len(replicas)):
                session.caller.ask(f"{number}", ENDLESS)
            wait_until(functools.partial(session.has_begun, BATCH))
        wait_until(lambda: [replica.metric(RUNNING) for replica in replicas] == [BATCH] * len(replicas))
        for number in range(STOPS):
            session = opened[number % len(opened)]
            begun, stopped_at = len(session.began), time.monotonic()
            session.caller.stop(f"{number // len(opened)}")
            wait_until(functools.partial(session.has_begun, begun + 1))
            took.append(max(session.began.values()) - stopped_at)
        wait_until(lambda: sum(len(session.ended) for session in opened) == STOPS)
        assert {reason for session in opened for reason in session.ended.values()} == {"cancelled"}
        wait_until(lambda: [replica.metric(RUNNING) for replica in replicas] == [BATCH] * len(replicas))
    figure(
        f"{STOPS} of {STOPS} stops in sessions gave their places to others, in {statistics.median(took) * 1000:.0f} ms "
        f"(median) and {max(took) * 1000:.0f} ms (longest)"
    )
    assert statistics.median(took) < allowed(FREED_S), took
    wait_until(lambda: all(nothing_left(replica) for replica in replicas))


def test_stops_of_the_ensemble_go_to_any_replica(
    balancer: Balancer, replicas: list[Server], figure: Callable[[str], None]
) -> None:
    """Each is a request of its own, which Envoy gives to the replica with the fewest. That is what sessions are for."""

    async def run() -> int:
        async with aioclient.InferenceServerClient(balancer.address) as asking:

            async def ask(number: int, answered: asyncio.Event) -> None:
                async for _ in stream(asking, f"{number}", text_input="[sim:random]", max_tokens=ENDLESS, stream=True):
                    answered.set()

            asked = []
            for number in range(STOPS):  # each alone: Envoy does not count requests that wait for a connection
                answered = asyncio.Event()
                asked.append(asyncio.create_task(ask(number, answered)))
                await asyncio.wait_for(answered.wait(), 120)
            async with aioclient.InferenceServerClient(balancer.address) as stopping:
                replies = [
                    reply
                    for number in range(STOPS)
                    async for reply in stream(stopping, f"{number}", model="tensorrt_llm", stop=True)
                ]
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return sum(reply["finish_reason"] == "cancelled" for reply in replies)

    arrived = asyncio.run(run())
    figure(f"{arrived} of {STOPS} stops of the ensemble arrived")
    assert arrived < STOPS
    wait_until(lambda: all(nothing_left(replica) for replica in replicas))


def test_a_killed_client_frees_its_places(
    balancer: Balancer, replicas: list[Server], figure: Callable[[str], None]
) -> None:
    command = [sys.executable, "-m", "tests.robustness.sessions", balancer.address, f"{BATCH}", f"{ENDLESS}"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until(lambda: sum(replica.metric(IN_FLIGHT) for replica in replicas) == BATCH, 120)
    finally:
        began = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: all(nothing_left(replica) for replica in replicas), 120)
    took = time.monotonic() - began
    figure(f"a killed client with {BATCH} requests had none in flight {took * 1000:.0f} ms later")
    assert took < allowed(5)  # the metrics are read four times a second


def test_a_client_that_hangs_frees_its_places(replicas: list[Server], tmp_path: Path) -> None:
    """To its replica Envoy answers for it; what finds it out is Envoy's own question. The server alone waits 30 s."""

    def ask_often(config: Config) -> None:
        options = manager(config, "grpc")["http2_protocol_options"]
        assert options["connection_keepalive"] == {"interval": "30s", "timeout": "10s"}
        options["connection_keepalive"] = {"interval": "1s", "timeout": "4s"}

    with balancing(replicas, tmp_path, ask_often) as balancer:
        command = [sys.executable, "-m", "tests.robustness.sessions", balancer.address, f"{BATCH}", f"{ENDLESS}"]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            wait_until(lambda: sum(replica.metric(IN_FLIGHT) for replica in replicas) == BATCH, 120)
            process.send_signal(signal.SIGSTOP)
            wait_until(
                lambda: all(nothing_left(replica) for replica in replicas), 25
            )  # of the 30 s that the server waits
        finally:
            process.kill()
            process.wait()
