"""Which failures are tried again, where, and after how long."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest

from nemotron_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
)
from nemotron_client._retries import Attempts, Replicas, delay_s, may_succeed_later
from nemotron_client.testing import FakeServer

WHERE: dict[str, Any] = {"request_id": "r", "url": "u"}
DOWN = ServerUnavailableError("down", **WHERE)
FULL = OverloadedError("full", **WHERE)
LOADING = ModelNotReadyError("loading", **WHERE)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def seconds(retry: int) -> float:
    return retry + 1.0


def test_delays_double_up_to_a_limit() -> None:
    assert [delay_s(retry, lambda: 0.0) for retry in range(7)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert delay_s(10**6, lambda: 0.0) == 8


def test_chance_only_shortens_a_delay() -> None:
    assert delay_s(2, lambda: 1.0) == 1.5
    assert all(0.375 <= delay_s(0) <= 0.5 for _ in range(100))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DOWN, True),
        (FULL, True),
        (LOADING, True),
        (RequestTimeoutError("slow", phase="connect", **WHERE), True),
        (RequestTimeoutError("slow", phase="first_token", **WHERE), False),
        (InvalidRequestError("max_tokens: no", **WHERE), False),
        (ServerError("broken", **WHERE), False),
    ],
    ids=repr,
)
def test_only_what_may_succeed_later_is_tried_again(error: NemotronError, expected: bool) -> None:
    assert may_succeed_later(error) is expected


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [(None, TypeError, "say 0 for no retries"), (-1, ValueError, "0 or more"), (True, TypeError, "bool was given")],
)
def test_a_wrong_number_of_retries_is_refused(value: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"max_retries: .*{message}"):
        Client("grpc://127.0.0.1:1", max_retries=value)


def test_servers_take_turns() -> None:
    replicas = Replicas(["a", "b", "c"])
    assert [replicas.pick() for _ in range(5)] == [0, 1, 2, 0, 1]


def test_a_failed_server_is_passed_over_longer_each_time() -> None:
    clock = Clock()
    replicas = Replicas(["a", "b"], clock)
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        for _ in range(3):  # requests that were on their way at the same time
            replicas.failed(0, DOWN)
        clock.now += pause - 0.01
        assert {replicas.pick() for _ in range(3)} == {1}
        clock.now += 0.02
        assert {replicas.pick() for _ in range(3)} == {0, 1}
    replicas.worked(0)
    replicas.failed(0, DOWN)
    clock.now += 1.01
    assert {replicas.pick() for _ in range(3)} == {0, 1}


def test_when_all_have_failed_the_one_that_is_back_first_is_tried() -> None:
    clock = Clock()
    replicas = Replicas(["a", "b"], clock)
    replicas.failed(1, DOWN)
    clock.now += 0.5
    replicas.failed(0, DOWN)
    assert replicas.pick() == 1
    assert replicas.pick({1}) == 0


def test_every_server_is_tried_without_waiting_before_a_retry() -> None:
    attempts = Attempts(Replicas(["a", "b"]), 1, seconds)
    first = attempts.replica
    assert attempts.again_after(DOWN, 100) == 0
    assert attempts.replica != first
    assert attempts.again_after(DOWN, 100) == 1
    assert attempts.again_after(DOWN, 100) == 0
    with pytest.raises(ServerUnavailableError, match=r"None of the servers answers\. (a|b): down; (a|b): down"):
        attempts.again_after(DOWN, 100)


def test_with_one_server_its_own_error_is_raised() -> None:
    attempts = Attempts(Replicas(["a"]), 2, seconds)
    assert [attempts.again_after(FULL, 100), attempts.again_after(FULL, 100)] == [1, 2]
    with pytest.raises(OverloadedError) as caught:
        attempts.again_after(FULL, 100)
    assert caught.value is FULL


def test_retries_stay_within_the_total_timeout() -> None:
    attempts = Attempts(Replicas(["a"]), 5, seconds)
    attempts.again_after(DOWN, 1.5)
    with pytest.raises(ServerUnavailableError):
        attempts.again_after(DOWN, 0.5)


def test_an_error_that_stays_is_raised_at_once() -> None:
    attempts = Attempts(Replicas(["a", "b"]), 5, seconds)
    with pytest.raises(InvalidRequestError):
        attempts.again_after(InvalidRequestError("seed: no", **WHERE), 100)


def test_a_full_server_is_not_taken_for_a_broken_one() -> None:
    clock = Clock()
    replicas = Replicas(["a", "b"], clock)
    attempts = Attempts(replicas, 0, seconds)
    attempts.again_after(FULL, 100)
    assert {replicas.pick() for _ in range(2)} == {0, 1}


def test_a_server_whose_model_is_loading_is_passed_over() -> None:
    replicas = Replicas(["a", "b"], Clock())
    attempts = Attempts(replicas, 0, seconds)
    loading = attempts.replica
    attempts.again_after(LOADING, 100)
    assert loading not in {replicas.pick() for _ in range(2)}
    with pytest.raises(ModelNotReadyError):  # as it is said of all
        attempts.again_after(LOADING, 100)


def test_retries_are_logged_with_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "nemotron_client")
    Attempts(Replicas(["a"]), 1, seconds, request_id="r-7").again_after(DOWN, 100)
    assert "request r-7: retry 1 of 1 in 1.00 s after ServerUnavailableError" in caplog.messages


def test_the_log_says_once_that_a_server_is_down_and_once_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nemotron_client")
    clock = Clock()
    replicas = Replicas(["a", "b"], clock)
    for _ in range(1000):
        replicas.failed(0, DOWN)
        replicas.worked(1)
        clock.now += 0.09
    for _ in range(3):
        replicas.worked(0)
    down, back = "a takes no requests (ServerUnavailableError): down", "a takes requests again, after 90.0 s"
    assert caplog.messages == [down, back]
    replicas.failed(0, DOWN)
    assert caplog.messages == [down, back, down]


def test_the_log_of_a_server_that_fails_now_and_then_is_short(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    replicas = Replicas(["a"], clock)
    for _ in range(1000):
        replicas.failed(0, DOWN)
        clock.now += 0.01
        replicas.worked(0)
    clock.now += 0.1
    replicas.failed(0, DOWN)
    assert len(caplog.messages) == 3  # down, back, and ten seconds later down


def test_a_program_that_sets_up_no_logging_reads_nothing_of_it() -> None:
    code = """
from nemotron_client import Client, ServerUnavailableError
try:
    Client(["grpc://127.0.0.1:1", "grpc://127.0.0.1:2"], max_retries=0).chat([{"role": "user", "content": "Hi"}])
except ServerUnavailableError:
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True)
    assert (done.stdout, done.stderr) == ("told\n", "")


def test_many_requests_that_no_server_takes_are_two_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> None:
        with FakeServer("one") as first, FakeServer("two") as second:
            urls = [first.grpc_url, second.grpc_url]
            async with AsyncClient(urls, max_retries=0) as client:
                with first.refusing(), second.refusing():
                    calls = [client.chat([{"role": "user", "content": "Hi"}]) for _ in range(50)]
                    outcomes = await asyncio.gather(*calls, return_exceptions=True)
                    assert {type(one) for one in outcomes} == {ServerUnavailableError}
                told = [record.getMessage() for record in caplog.records if record.name == "nemotron_client"]
                assert sorted(message.partition(" (")[0] for message in told) == sorted(
                    f"{url} takes no requests" for url in urls
                )

    asyncio.run(run())
