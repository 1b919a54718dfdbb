from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from nemotron_serving.launcher.endpoints import Endpoints, choose_endpoints
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.health import HealthServer, Phase, ServerState
from nemotron_serving.launcher.options import ServeOptions

_LONG_S = 20.0  # what no answer takes


@pytest.fixture
def state() -> ServerState:
    return ServerState()


@pytest.fixture
def endpoints() -> Endpoints:
    return choose_endpoints(ServeOptions(package=Path(), http_port=0, grpc_port=0, metrics_port=0))


@pytest.fixture(autouse=True)
def server(endpoints: Endpoints, state: ServerState) -> Iterator[HealthServer]:
    with HealthServer(endpoints, state) as server:
        yield server


def ask(endpoints: Endpoints, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection(endpoints.host, endpoints.health_port, timeout=_LONG_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode().strip()
    finally:
        connection.close()


def connect(endpoints: Endpoints) -> socket.socket:
    return socket.create_connection((endpoints.host, endpoints.health_port), timeout=_LONG_S)


@pytest.mark.parametrize(
    ("phase", "live", "ready"),
    [
        (Phase.STARTING, 200, 503),
        (Phase.SERVING, 200, 200),
        (Phase.HUNG, 200, 503),
        (Phase.FRONT_DOWN, 200, 503),
        (Phase.RESTARTING, 200, 503),
        (Phase.DRAINING, 200, 503),
        (Phase.GIVING_UP, 503, 503),
    ],
)
def test_each_phase_has_its_answers(
    phase: Phase, live: int, ready: int, state: ServerState, endpoints: Endpoints
) -> None:
    state.enter(phase)
    assert ask(endpoints, "/live") == (live, phase.value)
    assert ask(endpoints, "/ready") == (ready, phase.value)


def test_it_begins_alive_and_not_ready(endpoints: Endpoints) -> None:
    assert ask(endpoints, "/live") == (200, "starting")
    assert ask(endpoints, "/ready") == (503, "starting")


def test_nothing_but_giving_up_ends_a_drain(state: ServerState) -> None:
    state.enter(Phase.DRAINING)
    for phase in (Phase.SERVING, Phase.HUNG, Phase.RESTARTING, Phase.FRONT_DOWN):
        state.enter(phase)
        assert state.phase is Phase.DRAINING
    state.enter(Phase.GIVING_UP)
    assert not state.live


def test_head_has_no_body_and_a_query_is_ignored(endpoints: Endpoints) -> None:
    assert ask(endpoints, "/live", "HEAD") == (200, "")
    assert ask(endpoints, "/live?verbose")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/live/", 404), ("GET", "/metrics", 404), ("POST", "/live", 405), ("PUT", "/x", 405)],
)
def test_nothing_else_is_there(method: str, path: str, status: int, endpoints: Endpoints) -> None:
    assert ask(endpoints, path, method)[0] == status


def test_who_says_half_a_request_keeps_nobody_waiting_and_is_dropped(endpoints: Endpoints) -> None:
    with ExitStack() as stack:
        halves = []
        for sent in (b"", b"GET /live HT", b"GET /live HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01"):
            halves.append(stack.enter_context(connect(endpoints)))
            halves[-1].sendall(sent)
        assert ask(endpoints, "/live")[0] == 200
        assert all(map(gone, halves))


def test_a_head_without_an_end_is_dropped(endpoints: Endpoints) -> None:
    with connect(endpoints) as endless:
        try:
            for _ in range(1000):
                endless.sendall(b"A: " + b"a" * 1000 + b"\r\n")
        except OSError:
            pass
        assert gone(endless)
    assert ask(endpoints, "/live")[0] == 200


def test_what_is_no_http_is_answered_or_dropped_and_the_next_is_served(endpoints: Endpoints) -> None:
    for sent in (b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe /live\r\n\r\n", b"GET  /live\r\n\r\n"):
        with connect(endpoints) as strange:
            strange.sendall(sent)
            assert strange.recv(100).startswith((b"HTTP/1.1 4", b"")), sent
    assert ask(endpoints, "/live")[0] == 200


def test_many_connections_that_stay_open_are_no_obstacle(endpoints: Endpoints) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(endpoints)) for _ in range(100)]
        assert ask(endpoints, "/ready")[0] == 503
        assert gone(silent[0])


def test_many_at_once_are_all_answered(endpoints: Endpoints) -> None:
    answers: list[int] = []
    askers = [threading.Thread(target=lambda: answers.append(ask(endpoints, "/live")[0])) for _ in range(40)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(_LONG_S)
    assert answers == [200] * 40


def test_closing_waits_for_nobody_and_frees_the_port(state: ServerState, capfd: pytest.CaptureFixture[str]) -> None:
    port = choose_endpoints(ServeOptions(package=Path(), http_port=0, grpc_port=0, metrics_port=0))
    for _ in range(3):
        server = HealthServer(port, state)
        with connect(port) as open_one:
            open_one.sendall(b"GET /li")
            server.close()
            assert gone(open_one)
    HealthServer(port, state).close()  # at once: the thread may not have begun to listen
    assert capfd.readouterr().err == ""


def test_a_taken_port(state: ServerState, endpoints: Endpoints) -> None:
    with pytest.raises(SetupError, match=f"Port {endpoints.health_port} is taken by .* --health-port 0"):
        HealthServer(endpoints, state)


def gone(connection: socket.socket) -> bool:
    """Whether the other side closes the connection; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
