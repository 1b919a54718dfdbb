"""Questions to a running server, over the URLs that people get."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse

from nemotron_serving.heartbeat import Pulse
from nemotron_serving.host import IN_FLIGHT_METRIC
from nemotron_serving.launcher.errors import StartError
from nemotron_serving.launcher.ports import Endpoints, readable
from nemotron_serving.launcher.prepare import PUBLIC_MODEL

_TIMEOUT_S = 2.0
_FIRST_PATH = f"/v2/models/{PUBLIC_MODEL}/generate"
_FIRST_REQUEST = {"text_input": "Hi", "max_tokens": 1}
_POLL_S = 0.1
_RETRY_S = 0.5
# Too many open files here, or no port free for one more connection to the server: it may well be fine.
_OWN_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)


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
    """Asks the server for one token again and again, from a thread of its own and over a connection that it keeps.

    It never gives up on an answer: whether there is one is what `pulse` tells.

    Args:
        endpoints: The server.
        request_id: Known to the server, see `HostOptions.probe_id`.
        pause_s: Seconds between an answer and the next request.
    """

    def __init__(self, endpoints: Endpoints, request_id: str | None, pause_s: float) -> None:
        self._endpoints = endpoints
        self._body = _first_request(request_id)
        self._pause_s = pause_s
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
        connection = HTTPConnection(self._endpoints.host, self._endpoints.http_port, timeout=_TIMEOUT_S)
        while not self._closing.wait(self._pause_s):
            self._asking = True
            while not self._ask(connection):
                connection.close()  # the server has closed it, or takes none
                if self._closing.wait(_RETRY_S):
                    break
            self._answers += 1
            self._asking = False
        connection.close()

    def _ask(self, connection: HTTPConnection) -> bool:
        """Whether there was an answer, of any kind, or none to be had through a fault of this side."""
        try:
            connection.request("POST", _FIRST_PATH, self._body)
            while not readable([connection.sock], _POLL_S):
                if self._closing.is_set():
                    return True
            connection.getresponse().read()
        except OSError as error:
            return error.errno in _OWN_FAULTS
        except HTTPException:
            return False
        return True


def requests_in_flight(endpoints: Endpoints) -> int | None:
    """How many requests the models work on; None if the server does not say."""
    text = _get(endpoints.host, endpoints.metrics_port, "/metrics")
    return None if text is None else sum_of_gauge(text, IN_FLIGHT_METRIC)


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
