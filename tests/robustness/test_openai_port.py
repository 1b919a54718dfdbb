"""The front that nemotron-serve starts beside Triton: each may die or hang without the other, and both end in order."""

from __future__ import annotations

import http.client
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemotron_client import Client
from tests.integration.conftest import Server, serving
from tests.integration.front.raw import RawCaller
from tests.robustness.observing import IN_FLIGHT, is_alive, log_lines, processes, wait_until_restarted
from tests.waiting import allowed, wait_until

LONG: dict[str, Any] = {"messages": [{"role": "user", "content": "[sim:random]"}], "max_tokens": 1000}
ENDLESS: dict[str, Any] = LONG | {"max_tokens": 100_000}
HANG_S = 2.0
SHORT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}


Serve = Callable[..., Server]


@pytest.fixture
def serve(simulated_package: Callable[..., Path], tmp_path: Path) -> Iterator[Serve]:
    """Serves with a front, and more options."""
    package = simulated_package("--ttft-ms", "5", "--token-ms", "3", "--max-batch-size", "8")
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(serving(package, tmp_path, "--openai-port", "0", *options))


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


def ask(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, json.load(response)


def answers(url: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return ask(url, SHORT)[0] == 200
    return False


def ready(url: str) -> bool:
    """Of nemotron-serve's health port, or of the front's /v1/health."""
    try:
        return bool(urllib.request.urlopen(f"{url}/ready", timeout=5))
    except urllib.error.HTTPError:
        return False


def wait_until_two_are_in_flight(server: Server, last: Future[Any]) -> None:
    wait_until(lambda: last.done() or server.metric(IN_FLIGHT) == 2)
    assert not last.done(), last.result()


def front_of(server: Server) -> psutil.Process:
    return psutil.Process(server.info["front_pid"])


def workers_of(server: Server) -> list[psutil.Process]:
    """Those of the front that live, of all that listened last."""
    found = []
    with suppress(FileNotFoundError):
        for pid in json.loads((Path(server.info["runtime_dir"]) / "front.json").read_text())["worker_pids"]:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return found


def restart_reasons(server: Server) -> list[str]:
    return [line for line in log_lines(server) if line.startswith("Restarting")]


def test_a_front_that_dies_is_started_again_and_nothing_else_is(server: Server) -> None:
    before = server.info
    url = before["openai_url"]
    with (
        Client(server.grpc_url) as client,
        ThreadPoolExecutor() as pool,
        client.stream_chat(**ENDLESS) as stream,
    ):
        next(stream)
        for _ in range(2):
            lost = pool.submit(ask, url, ENDLESS)
            wait_until_two_are_in_flight(server, lost)
            front_of(server).kill()
            wait_until(lambda: not ready(before["health_url"]))
            assert not server.ready_file.exists()
            with pytest.raises((OSError, http.client.HTTPException)):
                lost.result()
            wait_until(lambda: ready(before["health_url"]) and server.ready_file.exists(), 30)
            assert answers(url)
            wait_until(lambda: server.metric(IN_FLIGHT) == 1, allowed(2))
        client.cancel(stream.request_id)
        assert stream.get_final().finish_reason == "cancelled"
    after = server.info
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"front_pid"}
    assert server.log.read_text().count("Restarting the front") == 2


HANGS: dict[str, tuple[str, Callable[[Server], list[psutil.Process]]]] = {
    "alone": ("", lambda server: [front_of(server)]),
    "before its workers": ("--workers 2", lambda server: [front_of(server)]),
    # Which look after their workers no more: only asking tells.
    "behind": ("--workers 2 --hang-seconds 0", workers_of),
}


@pytest.mark.parametrize("name", HANGS)
def test_a_front_that_hangs_is_started_again_and_nothing_else_is(serve: Serve, name: str) -> None:
    options, stopped = HANGS[name]
    server = serve("--hang-seconds", f"{HANG_S:g}", f"--openai-options={options}")
    before = server.info
    for process in stopped(server):
        process.suspend()
    wait_until(lambda: not ready(before["health_url"]), allowed(2 * HANG_S))
    wait_until(lambda: ready(before["health_url"]) and server.ready_file.exists(), 30)
    assert answers(server.info["openai_url"])
    assert {name for name in before if server.info[name] != before[name]} == {"front_pid"}
    (reason,) = restart_reasons(server)
    assert reason.startswith("Restarting the front now: ")
    assert "has made no progress for" in reason


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "it was killed by SIGKILL."), (signal.SIGSTOP, "has made no progress for")]
)
def test_an_orchestrator_can_start_again_all_of_a_server_whose_front_is_gone(
    serve: Serve, number: signal.Signals, reason: str
) -> None:
    """Others have time to finish, as in any drain, also where it asks for one. Nobody is sent here meanwhile."""
    server = serve("--restart", "never", "--hang-seconds", f"{HANG_S:g}")
    health, everything = server.info["health_url"], processes(server)
    with Client(server.grpc_url) as client, client.stream_chat(**LONG) as stream:
        next(stream)
        front_of(server).send_signal(number)
        wait_until(lambda: not ready(health), allowed(2 * HANG_S))
        server.process.send_signal(signal.SIGTERM)
        assert stream.get_final().usage.output_tokens == LONG["max_tokens"]
    assert server.process.wait(30) == 3
    assert not server.ready_file.exists()
    last = log_lines(server)[-1]
    assert last.startswith("nemotron-serve: Ended, for --restart never was given: the front of --openai-port: ")
    assert reason in last
    assert not any(map(is_alive, everything.values()))


def test_a_triton_that_is_not_started_again_ends_the_streams_of_the_front_with_an_error(serve: Serve) -> None:
    server = serve("--restart", "never")
    with RawCaller(server.info["openai_url"].removesuffix("/v1"), {**ENDLESS, "stream": True}) as caller:
        caller.read_until(b"data:")
        processes(server)["tensorrt_llm"].kill()
        caller.read_all()
        *_, error, done = caller.data
    assert json.loads(error)["error"]["message"]
    assert done == "[DONE]"
    assert server.process.wait(30) == 3


def test_the_admin_key_is_tritons_alone_and_said_to_be_seen(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "the-key-of-the-admin"
    monkeypatch.setenv("NEMOTRON_ADMIN_KEY", key)
    server = serve()
    asked = urllib.request.Request(f"{server.http_url}/v2/logging", headers={"nemotron-admin-key": key})
    with urllib.request.urlopen(asked, timeout=10) as response:
        assert response.status == 200
    pids = {"front": server.info["front_pid"], "Triton": server.info["triton_pid"], **server.info["model_pids"]}
    assert [name for name, pid in pids.items() if key in str(psutil.Process(pid).environ())] == []
    assert "can read the admin key in the list of processes" in server.log.read_text()


def test_a_worker_that_hangs_is_replaced_and_the_others_go_on(serve: Serve) -> None:
    server = serve("--hang-seconds", f"{HANG_S:g}", "--openai-options=--workers 2")
    url, front = server.info["openai_url"], front_of(server)
    hung, other = workers_of(server)
    with ThreadPoolExecutor() as pool:
        hung.suspend()
        running = pool.submit(ask, url, LONG)  # at the one that takes connections
        assert answers(url)
        wait_until(lambda: not is_alive(hung), allowed(2 * HANG_S))
        wait_until(lambda: len(workers_of(server)) == 2 and hung not in workers_of(server), 30)
        assert running.result()[0] == 200
    assert other in workers_of(server)
    assert front_of(server) == front
    assert restart_reasons(server) == []


def test_a_front_that_cannot_be_started_is_tried_again_and_says_why(serve: Serve, tmp_path: Path) -> None:
    keys, hidden = tmp_path / "keys", tmp_path / "hidden"
    keys.write_text("a-key")
    server = serve(f"--openai-options=--api-key-file {keys}")
    health = server.info["health_url"]
    keys.rename(hidden)
    front_of(server).kill()
    wait_until(lambda: len(restart_reasons(server)) == 3, 60)
    assert not ready(health)
    assert server.generate(text_input="Hi", max_tokens=1)
    hidden.rename(keys)
    wait_until(lambda: ready(health), 60)
    first, *others = (line.partition(": ")[0] for line in restart_reasons(server))
    assert first == "Restarting the front now"
    assert others[:2] == ["Restarting the front in 1 s", "Restarting the front in 2 s"]
    assert f"  nemotron-front: --api-key-file {keys}: there is no such file." in log_lines(server)


def test_a_front_that_dies_under_its_workers_takes_them_along(serve: Serve) -> None:
    """They would keep the port for as long as they write, or for ever when they are stopped."""
    server = serve("--openai-options=--workers 2")
    url, workers = server.info["openai_url"], workers_of(server)
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(ask, url, ENDLESS)
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        workers[0].suspend()
        front_of(server).kill()
        wait_until(lambda: not [one for one in workers if is_alive(one)])
        with pytest.raises((OSError, http.client.HTTPException)):
            lost.result()
    wait_until(lambda: answers(url) and len(workers_of(server)) == 2, 30)
    assert len(restart_reasons(server)) == 1
    workers = workers_of(server)
    workers[0].suspend()
    server.process.kill()
    wait_until(lambda: not [one for one in workers if is_alive(one)])


def test_the_first_request_is_answered_once_the_server_is_ready(server: Server) -> None:
    """The front was there before Triton, did not find it, and has found it by now."""
    assert ask(server.info["openai_url"], SHORT)[0] == 200


def test_a_triton_that_dies_leaves_the_front(server: Server) -> None:
    url, front = server.info["openai_url"], front_of(server)
    assert answers(url)
    processes(server)["tensorrt_llm"].kill()
    wait_until_restarted(server, 1)
    wait_until(lambda: answers(url))
    assert front_of(server) == front


def test_ready_says_that_the_front_is_ready_after_a_restart_of_triton_too(server: Server) -> None:
    health, front = server.info["health_url"], server.info["openai_url"] + "/health"
    processes(server)["tritonserver"].kill()
    wait_until(lambda: not ready(health))
    wait_until(lambda: ready(health), 60)
    assert ready(front)
    assert server.info["restarts"] == 1


def test_a_front_that_dies_while_triton_starts_is_started_again_meanwhile(server: Server) -> None:
    url = server.info["openai_url"]
    processes(server)["tritonserver"].kill()
    front_of(server).kill()
    wait_until_restarted(server, 1)
    assert answers(url)
    said = [line.split(":")[0] for line in log_lines(server) if line.startswith(("Restarting", "Serving again"))]
    assert said[:2] == ["Restarting now", "Restarting the front now"] or said[0] == "Restarting the front now"
    assert said[-1].startswith("Serving again")


def test_a_drain_lets_answers_of_the_front_finish(server: Server) -> None:
    url, front = server.info["openai_url"], front_of(server)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(ask, url, LONG)
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.ready_file.exists())
        wait_until(lambda: ask(url, SHORT)[0] == 503, allowed(1))
        status, answer = running.result()
    assert (status, answer["usage"]["completion_tokens"]) == (200, 1000)
    assert server.process.wait(30) == 0
    assert not is_alive(front)
    assert "Stopped after" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_what_does_not_finish_in_the_drain_time_is_answered_all_the_same(
    simulated_package: Callable[..., Path], tmp_path: Path
) -> None:
    options = ("--openai-port", "0", "--drain-seconds", "0.5")
    with serving(simulated_package("--token-ms", "20"), tmp_path, *options) as server, ThreadPoolExecutor() as pool:
        running = pool.submit(ask, server.info["openai_url"], LONG)
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        server.process.send_signal(signal.SIGTERM)
        status, answer = running.result()
        assert (status, answer["choices"][0]["finish_reason"]) == (200, "length")
        assert server.process.wait(30) == 0


def test_a_launcher_that_is_killed_takes_the_front_along(server: Server) -> None:
    front, began = front_of(server), time.monotonic()
    server.process.kill()
    wait_until(lambda: not is_alive(front))
    assert time.monotonic() - began < allowed(1)
