"""A stop takes its time for requests that run, not for connections that nobody uses."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tests.integration.conftest import Server, serving
from tests.robustness.leaving import waiting_call
from tests.robustness.observing import IN_FLIGHT, answers, processes
from tests.robustness.sessions import SessionCaller
from tests.waiting import allowed, wait_until

HALF_A_REQUEST = b"POST /v2/models/ensemble/generate HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"


@pytest.fixture
def connections(server: Server) -> Iterator[list[socket.socket]]:
    """Two to the HTTP port, one to gRPC's."""
    ports = [int(url.rpartition(":")[2]) for url in (server.http_url, server.http_url, server.grpc_url)]
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for port in ports]


def test_open_connections_do_not_keep_a_server(server: Server, connections: list[socket.socket]) -> None:
    """One is idle after a request, one has sent half of one, one never said anything."""
    idle, half, _ = connections
    idle.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in idle.recv(1000)
    half.sendall(HALF_A_REQUEST)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert time.monotonic() - began < allowed(3)


def test_sessions_are_told_of_a_stop_and_do_not_keep_a_server(server: Server) -> None:
    """What runs on them goes on to its end. A caller that stays to listen is not waited for."""
    with SessionCaller(server.grpc_address) as busy, SessionCaller(server.grpc_address) as idle:
        idle.open()
        busy.open()
        busy.ask("long", 3000)
        busy.frame()
        server.process.send_signal(signal.SIGTERM)
        assert idle.frame().get("draining")
        while "draining" not in (frame := busy.frame()):
            busy.acknowledge(frame["frame"])
        busy.ask("late", 3)
        ended = busy.read_until_ended("long", "late")
        assert ended["long"] == "length"
        assert "shutting down" in ended["late"]
        began = time.monotonic()
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < allowed(3)
    assert "Stopped after" in server.log.read_text()


def test_a_process_that_dies_while_it_drains_is_not_waited_for(
    simulated_package: Callable[..., Path], tmp_path: Path
) -> None:
    with (
        serving(simulated_package("--token-ms", "20"), tmp_path) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        call = waiting_call(channel, "ensemble")
        wait_until(lambda: server.metric(IN_FLIGHT) == 1)
        model = processes(server)["tensorrt_llm"]
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.ready_file.exists())
        model.kill()
        began = time.monotonic()
        with pytest.raises(grpc.RpcError):
            list(call)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < allowed(10)
        assert "1 request lost while draining" in server.log.read_text()


def test_a_guard_that_is_killed_is_replaced_and_leaves_nothing(server: Server) -> None:
    guard, runtime_dir = processes(server)["guard"], Path(server.info["runtime_dir"])
    guard.kill()
    wait_until(lambda: "another one took its place" in server.log.read_text())
    assert answers(server)
    processes(server)["guard"].kill()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.log.read_text()
    assert not runtime_dir.exists()
    assert not list(Path("/dev/shm").glob(f"{runtime_dir.name}*"))  # noqa: S108


def test_a_launcher_that_is_killed_takes_everything_along(server: Server) -> None:
    all_of_it, runtime_dir = processes(server), Path(server.info["runtime_dir"])
    server.process.kill()
    began = time.monotonic()
    wait_until(lambda: not any(process.is_running() for name, process in all_of_it.items() if name != "nemotron-serve"))
    wait_until(lambda: not runtime_dir.exists() and not server.ready_file.exists())
    assert time.monotonic() - began < allowed(1)
    assert not list(Path("/dev/shm").glob(f"{runtime_dir.name}*"))  # noqa: S108
