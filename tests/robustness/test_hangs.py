"""SIGSTOP for each process that serves, as if it hung: that is noticed as its death would be. Load is no hang."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from nemotron_client import Client, ServerUnavailableError, UserMessage
from tests.integration.conftest import Server, demo_package, serving, status
from tests.robustness.conftest import PACKAGE
from tests.robustness.observing import log_lines, processes, wait_until_restarted
from tests.robustness.overload import flood
from tests.robustness.sessions import SessionCaller
from tests.waiting import allowed, wait_until

__all__ = ["demo_package"]  # a fixture

HANG_S = 2.0
SLOW_S = 180.0  # on a busy machine: three times as long as a step of 512 tokens may take, and a restart
PATIENT_S = 5.0  # where other processes of a busy machine may keep the server waiting
MODELS = ("preprocessing", "tensorrt_llm", "postprocessing", "unary")
FOR_EVER = 3000  # tokens

Serve = Callable[..., Server]


@pytest.fixture
def serve(simulated_package: Callable[..., Path], tmp_path: Path) -> Iterator[Serve]:
    """Serves a package, or a simulated one that is built with these options, which hangs after some seconds."""
    with ExitStack() as stack:

        def serve(*build: str, package: Path | None = None, hang_s: float = HANG_S) -> Server:
            served = package or simulated_package(*(build or PACKAGE))
            return stack.enter_context(serving(served, tmp_path, "--hang-seconds", f"{hang_s:g}"))

        yield serve


def check_noticed(server: Server, name: str) -> None:
    """Stop a process under a caller: it is told in time, and the server serves again."""
    ready_url = f"{server.info['health_url']}/ready"
    with Client(server.grpc_url, max_retries=0) as client:
        stream = client.stream_chat([UserMessage("[sim:random]")], max_tokens=FOR_EVER)
        next(stream)
        processes(server)[name].suspend()
        with pytest.raises(ServerUnavailableError):
            list(stream)
        wait_until(lambda: status(ready_url) == 503, allowed(2 * HANG_S))
    wait_until_restarted(server, 1)
    assert status(ready_url) == 200
    (reason,) = [line for line in log_lines(server) if line.startswith("Restarting")]
    assert "has made no progress for" in reason
    assert "stopped by a signal" in reason


def check_unharmed(server: Server) -> None:
    assert not [line for line in log_lines(server) if line.startswith("Restarting")]
    assert server.info["restarts"] == 0
    assert server.generate(text_input="Hi", max_tokens=1)


@pytest.mark.parametrize("name", ["tritonserver", *MODELS])
def test_a_process_that_is_stopped_is_noticed(serve: Serve, name: str) -> None:
    check_noticed(serve("--ttft-ms", "5", "--token-ms", "20"), name)


def test_the_engines_own_process_is_noticed_with_a_caller_and_without(serve: Serve, demo_package: Path) -> None:
    server = serve(package=demo_package)
    processes(server)["worker"].suspend()
    wait_until_restarted(server, 1, SLOW_S)
    processes(server)["worker"].suspend()
    with Client(server.grpc_url, max_retries=0) as client, pytest.raises(ServerUnavailableError):
        client.chat([UserMessage("Hi")], max_tokens=16)
    wait_until_restarted(server, 2, SLOW_S)
    reasons = [line for line in log_lines(server) if line.startswith("Restarting")]
    assert len(reasons) == 2
    assert all("the engine of model 'tensorrt_llm' has made no progress" in reason for reason in reasons)


def test_a_long_prefill_is_no_hang(serve: Serve) -> None:
    server = serve("--ttft-ms", f"{2000 * HANG_S:g}")
    assert server.generate(text_input="[sim:random]", max_tokens=1)
    with SessionCaller(server.grpc_address) as idle:  # which is none either
        idle.open()
        time.sleep(HANG_S)
    assert server.info["restarts"] == 0
    check_unharmed(server)


def test_ten_times_as_many_callers_as_places_are_no_hang(serve: Serve) -> None:
    server = serve(hang_s=PATIENT_S)
    found = flood(server, 640, 2 * PATIENT_S)
    assert set(found.ends) == {"answered", "UNAVAILABLE"}
    check_unharmed(server)


def test_prompts_that_wait_for_their_turn_are_no_hang(serve: Serve) -> None:
    """Preprocessing takes one at a time: on most machines the last waits for longer than anything may hang."""
    server = serve("--max-batch-size", "64", hang_s=PATIENT_S)
    prompt = "You ask the same question again. " * 1000

    def ask(_: int) -> int:
        return server.post("/v2/models/ensemble/generate", {"text_input": prompt, "max_tokens": 1}, 120)[0]

    with ThreadPoolExecutor(400) as pool:
        assert 500 not in set(pool.map(ask, range(400)))
    check_unharmed(server)


def test_grammars_that_compile_for_long_are_no_hang(serve: Serve, demo_package: Path) -> None:
    server = serve(package=demo_package, hang_s=PATIENT_S)

    def ask(letter: str) -> int:
        choice = json.dumps({"type": "choice", "choice": [letter * (1 + number) for number in range(240)]})
        body = {"text_input": "Hi", "max_tokens": 4, "response_format": choice}
        return server.post("/v2/models/ensemble/generate", body, 120)[0]

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, "abcd")) == {200}
    check_unharmed(server)


def test_time_in_which_all_stood_still_does_not_count(serve: Serve) -> None:
    """As when a container is paused: the launcher first, as the one that would take the others to hang."""
    server = serve()
    launcher, *others = sorted(processes(server).values(), key=lambda process: process.pid != server.info["pid"])
    for number, some in ((signal.SIGSTOP, (launcher, *others)), (signal.SIGCONT, (launcher, *others))):
        for process in some:
            process.send_signal(number)
        if number == signal.SIGSTOP:
            time.sleep(2 * HANG_S)
    time.sleep(HANG_S)
    check_unharmed(server)
