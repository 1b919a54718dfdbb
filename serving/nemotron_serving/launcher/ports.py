"""Addresses: free ports, who holds one that is taken, and the URLs that people get."""

from __future__ import annotations

import errno
import math
import select
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.options import ServeOptions

_ANY = "0.0.0.0"  # noqa: S104 - compared with, never bound by default
_HIGHEST = 65535


@dataclass(frozen=True)
class Endpoints:
    """Where a server listens. The ports are real ones, never 0."""

    bind: str
    http_port: int
    grpc_port: int
    metrics_port: int
    health_port: int
    tls: bool

    @property
    def host(self) -> str:
        """An address that reaches the server from this machine."""
        return "127.0.0.1" if self.bind == _ANY else self.bind

    @property
    def grpc_url(self) -> str:
        """gRPC, with the scheme grpcs where TLS is on."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.host}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        """HTTP; paths start with /v2."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def metrics_url(self) -> str:
        """Metrics in Prometheus' text format."""
        return f"http://{self.host}:{self.metrics_port}/metrics"

    @property
    def health_url(self) -> str:
        """The health port of nemotron-serve; its paths are /live and /ready."""
        return f"http://{self.host}:{self.health_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The URLs as the variables that our client and load test read."""
        return {
            "NEMOTRON_URL": self.grpc_url,
            "NEMOTRON_HTTP_URL": self.http_url,
            "NEMOTRON_METRICS_URL": self.metrics_url,
            "NEMOTRON_HEALTH_URL": self.health_url,
        }


def choose_endpoints(options: ServeOptions) -> Endpoints:
    """Check that the wanted ports are free, and pick free ones in place of 0.

    Raises:
        SetupError: naming the port and, where it can be seen, the process that holds it.
    """
    wanted = {
        "--http-port": options.http_port,
        "--grpc-port": options.grpc_port,
        "--metrics-port": options.metrics_port,
        "--health-port": _health_port(options),
    }
    given = [port for port in wanted.values() if port]
    if len(given) != len(set(given)):
        raise SetupError(
            f"{', '.join(f'{option} {port}' for option, port in wanted.items())}: the ports must differ. "
            "Or give 0 for any free port."
        )
    with ExitStack() as held:
        # All are held until all are chosen: the same free port must not be found twice.
        http, grpc, metrics, health = (
            held.enter_context(bind(options.bind, *item)).getsockname()[1] for item in wanted.items()
        )
    return Endpoints(options.bind, http, grpc, metrics, health, options.tls is not None)


def resolve_bind(given: str) -> str:
    """The IPv4 address of a name or address.

    Raises:
        SetupError: it has none.
    """
    try:
        return str(socket.getaddrinfo(given, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise SetupError(
            f"--bind {given}: {error.strerror}. Expected an IPv4 address or a name that has one, such as 127.0.0.1, "
            f"or {_ANY} for all interfaces."
        ) from error


def bind(address: str, option: str, port: int) -> socket.socket:
    """A socket bound to a port.

    Args:
        address: IPv4 address.
        option: Where the port was given.
        port: 0 takes a free one.

    Raises:
        SetupError: naming the port and, where it can be seen, the process that holds it.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Connections of an earlier server that linger are no obstacle, for Triton neither.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"Port {port} is taken{_holder(port)}. Choose another with {option}, or {option} 0 for any free one."
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise SetupError(f"--bind {address}: this machine does not have that address.") from error
        raise SetupError(f"{option} {port}: {error.strerror}. Choose another port.") from error
    return listener


def _health_port(options: ServeOptions) -> int:
    """The port that was given, else the one after the metrics port, or a free one where that is a free one too."""
    if options.health_port is not None:
        return options.health_port
    return options.metrics_port + 1 if 0 < options.metrics_port < _HIGHEST else 0


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and listening.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass  # other users' processes are not ours to see
    return ""


def readable(sockets: Iterable[socket.socket], seconds: float | None) -> list[socket.socket]:
    """Wait until one of the sockets has something to read, or its end: those that have.

    Other than select() it takes any file number: a program that embeds a server may have a thousand files open.

    Args:
        sockets: Open ones.
        seconds: The longest wait; None waits for ever.
    """
    by_number = {one.fileno(): one for one in sockets}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(None if seconds is None else math.ceil(seconds * 1000))]
