"""A stop takes its time for requests that run, not for connections that nobody uses."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.conftest import Server
from tests.waiting import allowed

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
