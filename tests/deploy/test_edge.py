"""What a caller with a key gets through the edge of deploy/envoy from real replicas: stops, and the death of one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import AsyncClient, ServerUnavailableError
from tests.balancer.envoy import KEYS, Balancer, balancing
from tests.balancer.scripts import write_scripts
from tests.deploy.edge import CHAT, TEAM_A, TEAM_B, Edge
from tests.integration.client.conftest import RANDOM
from tests.integration.conftest import Server, serving, simulated_package
from tests.integration.front.raw import RawCaller, question
from tests.robustness.observing import IN_FLIGHT, nothing_left, wait_until_restarted
from tests.running import repeating
from tests.waiting import allowed, wait_until

__all__ = ["simulated_package"]  # a fixture

BATCH = 8
ENDLESS = 5_000  # tokens: 100 s
STOPS = 50
ASKED = 2 * BATCH + STOPS + 20  # more than stop, for those that wait do so at one replica each
FREED_S, FRONT_FREED_S = 0.2, 0.5  # where nothing else runs
SLOWER = 5  # a machine that others use as well
BACK_S = 20
LONG_THOUGHT = "Two plus two is four, and four is even. " * 100  # 20 s and more
KEY = {"authorization": f"Bearer {TEAM_A}"}
GENERATE = "/v2/models/{}/generate{}"


@pytest.fixture(scope="module")
def replicas(
    simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Two with fronts, 20 ms a token without end, 8 requests at once and 40 that wait."""
    scripts = write_scripts(tmp_path_factory.mktemp("scripts") / "scripts.json", "think", thinking=LONG_THOUGHT)
    options = ("--max-batch-size", f"{BATCH}", "--max-waiting", "40", "--script", str(scripts))
    package = simulated_package("--ttft-ms", "5", "--token-ms", "20", *options)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serving(package, tmp_path_factory.mktemp(f"replica-{number}"), "--openai-port", "0"))
            for number in range(2)
        ]


@pytest.fixture(scope="module")
def balancer(replicas: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with balancing(replicas, tmp_path_factory.mktemp("edge"), keys=KEYS.read_text()) as envoy:
        yield envoy


@pytest.fixture(autouse=True)
def at_rest(replicas: list[Server]) -> Iterator[None]:
    """A test begins and ends with nothing in flight."""
    yield
    wait_until(lambda: all(nothing_left(replica) for replica in replicas), 240)


def told(what: str, took: list[float]) -> str:
    return f"{what}: {statistics.median(took) * 1000:.0f} ms (median), {max(took) * 1000:.0f} ms (longest)"


def test_each_stream_of_a_session_that_is_left_frees_its_place(
    balancer: Balancer, figure: Callable[[str], None]
) -> None:
    """Every place is taken, so the first token of a request that waits shows that one is free."""
    places = 2 * BATCH
    begun: dict[int, float] = {}
    left: dict[int, float] = {}
    leaving: set[int] = set()

    async def until_begun(count: int) -> None:
        async with asyncio.timeout(120):
            while len(begun) < count:
                await asyncio.sleep(0.005)

    async def ask(client: AsyncClient, number: int) -> None:
        async with client.stream_chat(RANDOM, max_tokens=ENDLESS) as stream:
            async for _ in stream:
                begun.setdefault(number, time.monotonic())
                if number in leaving:
                    left[number] = time.monotonic()
                    break

    async def run() -> list[float]:
        took = []
        async with AsyncClient(balancer.url, sessions=4, headers=KEY) as client, asyncio.TaskGroup() as group:
            for number in range(ASKED):
                group.create_task(ask(client, number))
            await until_begun(places)
            for count in range(STOPS):
                number = min(begun.keys() - leaving)
                leaving.add(number)
                await until_begun(places + count + 1)
                took.append(max(begun.values()) - left[number])
            leaving.update(range(ASKED))
        return took

    took = asyncio.run(run())
    figure(told(f"through the edge {len(took)} of {STOPS} streams of sessions that were left freed their places", took))
    assert statistics.median(took) < allowed(SLOWER * FREED_S), took


def test_each_caller_of_the_front_that_leaves_frees_its_place(
    balancer: Balancer, figure: Callable[[str], None]
) -> None:
    begun: dict[int, float] = {}
    callers: dict[int, RawCaller] = {}

    def ask(number: int) -> None:
        body = question("[sim:random]", max_tokens=ENDLESS, stream=True)
        callers[number] = caller = RawCaller(balancer.http_url, body, headers=KEY)
        with contextlib.suppress(OSError, AssertionError):  # it was left
            caller.read_until(b"data:")
            begun[number] = time.monotonic()

    took = []
    with ThreadPoolExecutor(ASKED) as pool:
        for number in range(ASKED):
            pool.submit(ask, number)
        try:
            wait_until(lambda: len(begun) == 2 * BATCH and len(callers) == ASKED, 120)
            gone: set[int] = set()
            for count in range(STOPS):
                number = min(begun.keys() - gone)
                gone.add(number)
                at = time.monotonic()
                callers[number].close()
                wait_until(lambda count=count: len(begun) > 2 * BATCH + count, 120)  # type: ignore[misc]
                took.append(max(begun.values()) - at)
        finally:
            for caller in callers.values():
                with contextlib.suppress(OSError):
                    caller.shut()
                caller.close()
    figure(told(f"through the edge {len(took)} of {STOPS} callers of the front that left freed their places", took))
    assert statistics.median(took) < allowed(SLOWER * FRONT_FREED_S), took


def test_a_stop_over_http_reaches_its_request_by_the_header(balancer: Balancer) -> None:
    """As long as the next one would go to the other replica, for that has none."""
    the_edge = Edge(balancer, [])
    for number in range(10):
        body = {"text_input": "[sim:random]", "max_tokens": ENDLESS, "stream": True, "id": f"mine-{number}"}
        path = GENERATE.format("ensemble", "_stream")
        with RawCaller(balancer.http_url, body, path, headers=KEY) as caller:
            head = caller.read_until(b"data:").split(b"\r\n\r\n")[0].decode().lower()
            (replica,) = (line for line in head.split("\r\n") if line.startswith("x-nemotron-replica: "))
            stop = json.dumps({"stop": True, "id": f"mine-{number}"}).encode()
            chosen = {"x-nemotron-replica": caller.received.split(b"x-nemotron-replica: ")[1].split(b"\r")[0].decode()}
            answer = the_edge.ask(GENERATE.format("tensorrt_llm", ""), chosen, body=stop)
            assert answer.json["finish_reason"] == "cancelled", (replica, answer)
            caller.read_all()
            assert json.loads(caller.data[-1])["finish_reason"] == "cancelled"


def test_answer_now_of_a_browser_reaches_its_answer_by_the_cookie(balancer: Balancer) -> None:
    the_edge, browser = Edge(balancer, []), {**KEY, "sec-fetch-site": "same-origin"}
    thinks = question("[sim:think] Hi", chat_template_kwargs={"enable_thinking": True}, stream=True)
    for _ in range(6):
        with RawCaller(balancer.http_url, thinks, headers=browser) as caller:
            caller.read_until(b"data:")
            cookie = caller.received.split(b"set-cookie: ")[1].split(b";")[0].decode()
            wait_until(lambda caller=caller: caller.read_until(b"}\n\n"))  # type: ignore[misc]
            control = json.dumps({"id": json.loads(caller.data[0])["id"], "action": "reasoning_end"}).encode()
            answer = the_edge.ask(f"{CHAT}/control", {**browser, "cookie": cookie}, body=control)
            assert (answer.status, answer.json["success"]) == (200, True)


class Asking:
    """What became of streams: `ok`, a typed error, or anything else."""

    def __init__(self, balancer: Balancer) -> None:
        self.outcomes: list[str] = []
        self._balancer = balancer

    def ask(self) -> None:
        """One stream."""
        try:
            self.outcomes.append(self._ask())
        except Exception as error:
            self.outcomes.append(f"untyped: {error!r}")

    def _ask(self) -> str:
        body = question("[sim:random]", max_tokens=50, stream=True)
        headers = {"authorization": f"Bearer {TEAM_B}"}
        with RawCaller(self._balancer.http_url, body, headers=headers) as caller:
            caller.read_all()
            if caller.status != 200:
                error = json.loads(caller.received.partition(b"\r\n\r\n")[2])["error"]
                return f"refused: {error['code']}"
            if caller.data[-1] != "[DONE]":
                return f"untyped: {caller.received[-200:]!r}"
            last: dict[str, Any] = json.loads(caller.data[-2])
            return f"failed: {last['error']['code']}" if "error" in last else "ok"


@pytest.mark.timeout(900)
def test_a_triton_that_is_killed_takes_along_its_streams_alone(
    balancer: Balancer, replicas: list[Server], figure: Callable[[str], None]
) -> None:
    """With gRPC, in sessions, and over the front, at the same time."""
    answered: list[str] = []
    errors: list[Exception] = []
    over = threading.Event()

    async def ask(client: AsyncClient) -> None:
        while not over.is_set():
            try:
                answered.append((await client.chat(RANDOM, max_tokens=50)).finish_reason)
            except Exception as error:
                errors.append(error)

    async def run() -> None:
        async with AsyncClient(balancer.url, sessions=2, headers=KEY) as client:
            await asyncio.gather(*(ask(client) for _ in range(8)))

    dying = replicas[0]
    restarts = dying.info["restarts"]
    front = Asking(balancer)
    with repeating([front.ask] * 8), ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, run())
        try:
            wait_until(lambda: len(answered) > 8 and len(front.outcomes) > 8, 240)
            wait_until(lambda: min(replica.metric(IN_FLIGHT) for replica in replicas) >= 2)
            began = time.monotonic()
            os.kill(dying.info["triton_pid"], signal.SIGKILL)
            wait_until_restarted(dying, restarts + 1, 240)
            wait_until(lambda: dying.grpc_address in balancer.chosen(), 120)
            back = time.monotonic() - began
            wait_until(lambda: dying.metric(IN_FLIGHT) >= 1, 240)
            counts = len(answered), len(front.outcomes)
            wait_until(lambda: len(answered) > counts[0] + 8 and len(front.outcomes) > counts[1] + 8, 240)
        finally:
            over.set()
        done.result(120)
    failed = [outcome for outcome in front.outcomes if outcome != "ok"]
    figure(
        f"kill -9 of one Triton under 16 callers: {len(errors) + len(failed)} of "
        f"{len(answered) + len(errors) + len(front.outcomes)} requests failed, it took calls again after {back:.1f} s"
    )
    assert {*answered} == {"length"}
    assert {type(error) for error in errors} <= {ServerUnavailableError}
    assert not [outcome for outcome in failed if outcome.startswith("untyped")]
    assert 1 <= len(errors) + len(failed) < 16, (errors, failed)  # half of the streams ran there
    assert back < allowed(SLOWER * BACK_S)
