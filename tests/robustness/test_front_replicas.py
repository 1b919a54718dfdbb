"""One front before two servers: each has its share, and a request is refused only where neither takes it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nemotron_client import Client
from tests.integration.conftest import Front, Server, fronting, serving
from tests.integration.front.raw import CHAT, RawCaller, question
from tests.robustness.observing import IN_FLIGHT, is_alive, processes
from tests.waiting import wait_until

ROOM = 4  # requests in each server
ENDLESS = question("[sim:random]", max_tokens=100_000)
SHORT = question("Hi", max_tokens=2)
THINKS = question("[sim:think] Hi", chat_template_kwargs={"enable_thinking": True})


@pytest.fixture
def replicas(simulated_package: Callable[..., Path], tmp_path: Path) -> Iterator[list[Server]]:
    """Two, with 20 ms a token; a test fills or kills them."""
    package = simulated_package("--token-ms", "20", "--max-batch-size", str(ROOM), "--max-waiting", "0")
    directories = [tmp_path / "replica-0", tmp_path / "replica-1"]
    for directory in directories:
        directory.mkdir()
    with serving(package, directories[0]) as first, serving(package, directories[1]) as second:
        yield [first, second]


@pytest.fixture
def front(replicas: list[Server], tmp_path: Path) -> Iterator[Front]:
    """Before both."""
    with fronting(replicas[0], tmp_path, replicas[1].grpc_url) as front:
        yield front


def in_flight(replicas: list[Server]) -> list[float]:
    return [replica.metric(IN_FLIGHT) for replica in replicas]


def begun(front: Front, body: dict[str, object], number: int) -> list[RawCaller]:
    """Callers of so many answers that are being written."""
    callers = [RawCaller(front.url, {**body, "stream": True}) for _ in range(number)]
    for caller in callers:
        caller.read_until(b"data:")
    return callers


def statuses(front: Front) -> set[int]:
    return {front.post(CHAT, SHORT)[0] for _ in range(4)}


def test_each_has_its_turn_and_429_is_for_when_both_are_full(front: Front, replicas: list[Server]) -> None:
    callers = begun(front, ENDLESS, ROOM)
    wait_until(lambda: in_flight(replicas) == [ROOM / 2, ROOM / 2])
    with Client(replicas[0].grpc_url) as client, contextlib.ExitStack() as stack:
        for _ in range(ROOM // 2):
            next(stack.enter_context(client.stream_chat(**ENDLESS)))
        assert statuses(front) == {200}
        callers += begun(front, ENDLESS, ROOM // 2)
        wait_until(lambda: in_flight(replicas) == [ROOM, ROOM])
        status, headers, body = front.post(CHAT, SHORT)
        assert (status, json.loads(body)["error"]["type"]) == (429, "rate_limit_error")
        assert int(headers["retry-after"]) > 0
    wait_until(lambda: in_flight(replicas) == [ROOM / 2, ROOM])
    assert statuses(front) == {200}
    for caller in callers:
        caller.close()


def test_one_that_dies_is_passed_over(front: Front, replicas: list[Server]) -> None:
    assert statuses(front) == {200}
    triton = processes(replicas[0])["tritonserver"]
    replicas[0].process.kill()  # which would start it again
    wait_until(lambda: not is_alive(triton))
    assert statuses(front) == {200}


def test_the_thinking_of_an_answer_ends_wherever_it_is_written(front: Front, replicas: list[Server]) -> None:
    callers = begun(front, THINKS, 2)
    wait_until(lambda: in_flight(replicas) == [1, 1])
    for caller in callers:
        control = {"id": json.loads(caller.data[0])["id"], "action": "reasoning_end"}
        status, _, body = front.post(f"{CHAT}/control", control)
        assert (status, json.loads(body)["success"]) == (200, True)
        caller.read_all()
        ends = [choice for data in caller.data[:-1] for choice in json.loads(data)["choices"]]
        assert ends[-1]["thinking_budget_reached"] is True
        caller.close()
