"""Where a server listens, and questions to it there: free ports, who holds one that is taken, readiness, metrics."""

from __future__ import annotations

import errno
import json
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse

import psutil

from nemotron_serving.heartbeat import Pulse
from nemotron_serving.launcher.errors import SetupError, StartError
from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.triton_files import PUBLIC_MODEL
from nemotron_serving.metrics import IN_FLIGHT

_ANY = "0.0.0.0"  # noqa: S104 - compared with, never bound by default
_HIGHEST = 65535
_TIMEOUT_S = 2.0  # of a question
_FIRST_PATH = f"/v2/models/{PUBLIC_MODEL}/generate"
_FIRST_REQUEST = {"text_input": "Hi", "max_tokens": 1}
_POLL_S = 0.1  # of the probe, for the answer
_RETRY_S = 0.5
# Too many open files here, or no port free for one more connection to the server: it may well be fine.
_OWN_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class Endpoints:
    """Where a server listens. The ports are real ones, never 0."""

    bind: str
    http_port: int
    grpc_port: int
    metrics_port: int
    health_port: int
    tls: bool
    openai_port: int | None = None

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


def choose_endpoints(options: ServeOptions, held: ExitStack | None = None) -> Endpoints:
    """Check that the wanted ports are free, and pick free ones in place of 0.

    Args:
        options: The wanted ports.
        held: Gets sockets that are bound to the ports and do not listen. While they are there, a server can listen at
            these ports, also again after a crash, and the system gives none of them to somebody who wants a free one,
            as each connection from this machine does. None holds them until all are chosen.

    Raises:
        SetupError: naming the port and, where it can be seen, the process that holds it.
    """
    wanted = {
        "--http-port": options.http_port,
        "--grpc-port": options.grpc_port,
        "--metrics-port": options.metrics_port,
        "--health-port": _health_port(options),
    } | ({} if options.openai_port is None else {"--openai-port": options.openai_port})
    given = [port for port in wanted.values() if port]
    if len(given) != len(set(given)):
        raise SetupError(
            f"{', '.join(f'{option} {port}' for option, port in wanted.items())}: the ports must differ. "
            "Or give 0 for any free port."
        )
    with ExitStack() as choosing:
        # All are held until all are chosen: the same free port must not be found twice.
        http, grpc, metrics, health, *openai = (
            choosing.enter_context(bind(options.bind, *item)).getsockname()[1] for item in wanted.items()
        )
        if held is not None:
            held.push(choosing.pop_all())
    return Endpoints(options.bind, http, grpc, metrics, health, options.tls is not None, *openai)


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


def all_ready(endpoints: Endpoints, models: tuple[str, ...]) -> bool:
    """Whether the server says that itself and each model is ready."""
    paths = ["/v2/health/ready", *(f"/v2/models/{model}/ready" for model in models)]
    return all(_get(endpoints.host, endpoints.http_port, path) is not None for path in paths)


def server_version(endpoints: Endpoints) -> tuple[int, ...]:
    """Triton's version as numbers, such as (2, 51, 0); empty if the server does not say."""
    metadata = _get(endpoints.host, endpoints.http_port, "/v2")
    numbers = json.loads(metadata)["version"].split(".") if metadata else []
    return tuple(int(number) for number in numbers if number.isdecimal())


def answer_one_request(endpoints: Endpoints, request_id: str | None, wait: Callable[[], None]) -> None:
    """Send a one-token request: readiness alone says nothing about the Python processes.

    Args:
        endpoints: The server.
        request_id: Known to the server, see `HostOptions.probe_id`: callers that came first are not waited for.
        wait: Called again and again until the answer is there; what it raises ends the wait.

    Raises:
        StartError: the server answered with an error.
    """
    connection = HTTPConnection(endpoints.host, endpoints.http_port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", _FIRST_PATH, _first_request(request_id))
        while not readable([connection.sock], 0):
            wait()
        response = connection.getresponse()
        body = response.read().decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        raise StartError(f"The first request got no answer: {str(error) or type(error).__name__}.") from error
    finally:
        connection.close()
    if response.status != 200:
        raise StartError(f"The first request was answered with HTTP {response.status}: {body}")


class Probe:
    """Asks a server the same again and again, from a thread of its own and over a connection that it keeps.

    Whether there is an answer is what `pulse` tells.

    Args:
        host: Address of the server.
        port: Its port for HTTP.
        path: What is asked for: with POST where there is a body, else with GET.
        body: JSON.
        pause_s: Seconds between an answer and the next request.
        answer_s: Seconds after which the same is asked over another connection, which another process of the server
            may take; None waits for the answer.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        body: str | None = None,
        *,
        pause_s: float,
        answer_s: float | None = None,
    ) -> None:
        self._server = (host, port)
        self._question = ("GET" if body is None else "POST", path, body)
        self._pause_s = pause_s
        self._answer_s = math.inf if answer_s is None else answer_s
        self._asking = False
        self._answers = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._thread.start()

    def pulse(self) -> Pulse:
        """Busy while an answer is due; each is progress."""
        return Pulse(self._asking, self._answers)

    def close(self) -> None:
        """Ask no more, and wait for no answer."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        connection = HTTPConnection(*self._server, timeout=_TIMEOUT_S)
        while not self._closing.wait(self._pause_s):
            self._asking = True
            while not self._ask(connection):
                connection.close()  # the server has closed it, or takes none, or is silent
                if self._closing.wait(_RETRY_S):
                    break
            self._answers += 1
            self._asking = False
        connection.close()

    def _ask(self, connection: HTTPConnection) -> bool:
        """Whether there was an answer, of any kind, or none to be had through a fault of this side."""
        try:
            connection.request(*self._question)
            until = time.monotonic() + self._answer_s
            while not readable([connection.sock], _POLL_S):
                if self._closing.is_set():
                    return True
                if time.monotonic() > until:
                    return False
            connection.getresponse().read()
        except OSError as error:
            return error.errno in _OWN_FAULTS
        except HTTPException:
            return False
        return True


def probe_triton(endpoints: Endpoints, request_id: str | None, pause_s: float) -> Probe:
    """Ask Triton for one token again and again. Each answer is waited for: behind a long queue it takes its time.

    Args:
        endpoints: The server.
        request_id: Known to the server, see `HostOptions.probe_id`.
        pause_s: Seconds between an answer and the next request.
    """
    return Probe(endpoints.host, endpoints.http_port, _FIRST_PATH, _first_request(request_id), pause_s=pause_s)


def requests_in_flight(endpoints: Endpoints) -> int | None:
    """How many requests the models work on; None if the server does not say."""
    text = _get(endpoints.host, endpoints.metrics_port, "/metrics")
    return None if text is None else sum_of_gauge(text, IN_FLIGHT)


def sum_of_gauge(exposition: str, name: str) -> int:
    """Sum of a gauge over its label sets, from Prometheus' text format; 0 if it is not there."""
    lines = (line for line in exposition.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def _first_request(request_id: str | None) -> str:
    return json.dumps(_FIRST_REQUEST | ({"id": request_id} if request_id else {}))


def _get(host: str, port: int, path: str) -> str | None:
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response: HTTPResponse = connection.getresponse()
        body = response.read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == 200 else None
