from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron_serving.launcher.endpoints import Endpoints, choose_endpoints, readable, resolve_bind
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.options import ServeOptions, TlsFiles

FREE = ServeOptions(package=Path("package"), http_port=0, grpc_port=0, metrics_port=0)


def test_held_ports_are_given_to_nobody_else_and_can_be_listened_at() -> None:
    """As by Triton, whose listeners set SO_REUSEADDR, too; once more after it has ended."""
    with contextlib.ExitStack() as held:
        port = choose_endpoints(FREE, held).http_port
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)):
                pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_zero_picks_free_ports() -> None:
    chosen = choose_endpoints(FREE)
    assert 0 not in (ports := {chosen.http_port, chosen.grpc_port, chosen.metrics_port, chosen.health_port})
    assert len(ports) == 4


def test_openais_port_is_one_of_them_where_it_is_wanted() -> None:
    assert choose_endpoints(FREE).openai_port is None
    chosen = choose_endpoints(dataclasses.replace(FREE, openai_port=0))
    assert chosen.openai_port not in (None, 0, chosen.http_port, chosen.grpc_port, chosen.health_port)
    with pytest.raises(SetupError, match=r"--openai-port 7007: the ports must differ"):
        choose_endpoints(dataclasses.replace(FREE, http_port=7007, openai_port=7007))


def test_the_health_port_is_the_one_after_the_metrics_port_unless_another_is_given() -> None:
    port = next(port for port in range(20_000, 60_000, 97) if free(port) and free(port + 1))
    assert choose_endpoints(dataclasses.replace(FREE, metrics_port=port)).health_port == port + 1
    assert choose_endpoints(dataclasses.replace(FREE, metrics_port=port, health_port=0)).health_port != port + 1
    assert choose_endpoints(dataclasses.replace(FREE, health_port=port)).health_port == port
    assert choose_endpoints(dataclasses.replace(FREE, metrics_port=65535)).health_port < 65535


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_names_its_holder() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"Port {port} is taken by .* \(process {os.getpid()}\).*--grpc-port 0"):
            choose_endpoints(dataclasses.replace(FREE, grpc_port=port))


def test_equal_ports() -> None:
    with pytest.raises(SetupError, match=r"--http-port 7007, --grpc-port 7007, .* must differ"):
        choose_endpoints(dataclasses.replace(FREE, http_port=7007, grpc_port=7007))
    with pytest.raises(SetupError, match=r"--http-port 7007, .*, --metrics-port 7006, --health-port 7007: .*differ"):
        choose_endpoints(dataclasses.replace(FREE, http_port=7007, metrics_port=7006))


def test_an_address_of_another_machine() -> None:
    with pytest.raises(SetupError, match=r"--bind 192\.0\.2\.1: this machine does not have that address"):
        choose_endpoints(dataclasses.replace(FREE, bind="192.0.2.1"))


def test_names_are_resolved() -> None:
    assert resolve_bind("localhost") == "127.0.0.1"
    with pytest.raises(SetupError, match=r"--bind ::1: .*Expected an IPv4 address"):
        resolve_bind("::1")


def test_urls() -> None:
    endpoints = Endpoints("127.0.0.1", 8000, 8001, 8002, 8003, tls=False)
    assert endpoints.environment == {
        "NEMOTRON_URL": "grpc://127.0.0.1:8001",
        "NEMOTRON_HTTP_URL": "http://127.0.0.1:8000",
        "NEMOTRON_METRICS_URL": "http://127.0.0.1:8002/metrics",
        "NEMOTRON_HEALTH_URL": "http://127.0.0.1:8003",
    }


def test_urls_on_all_interfaces_reach_the_server_from_here() -> None:
    assert Endpoints("0.0.0.0", 8000, 8001, 8002, 8003, tls=False).http_url == "http://127.0.0.1:8000"  # noqa: S104


def test_tls_is_for_grpc_alone() -> None:
    secured = choose_endpoints(dataclasses.replace(FREE, tls=TlsFiles(Path("crt"), Path("key"))))
    assert secured.grpc_url.startswith("grpcs://")
    assert secured.http_url.startswith("http://")


@pytest.fixture
def high_number() -> Iterator[int]:
    """A file number that select() does not take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = 1500
    if hard != resource.RLIM_INFINITY and hard <= number:
        pytest.skip("so many files cannot be open here")
    if soft != resource.RLIM_INFINITY and soft <= number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, hard))
    yield number
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_sockets_are_waited_for_whatever_their_number(high_number: int) -> None:
    low, other = socket.socketpair()
    with low, other, socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, high_number)) as high:
        assert readable([high], 0) == []
        other.sendall(b"a")
        assert readable([other, high], None) == [high]
        high.recv(1)
        other.close()
        assert readable([high], 10) == [high], "its end"
