"""Questions to a running server, over the URLs that people get."""

from __future__ import annotations

import json
import select
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse

from nemotron_serving.host import IN_FLIGHT_METRIC
from nemotron_serving.launcher.errors import StartError
from nemotron_serving.launcher.ports import Endpoints
from nemotron_serving.launcher.prepare import PUBLIC_MODEL

_TIMEOUT_S = 2.0
_FIRST_REQUEST = {"text_input": "Hi", "max_tokens": 1}


def all_ready(endpoints: Endpoints, models: tuple[str, ...]) -> bool:
    """Whether the server says that itself and each model is ready."""
    paths = ["/v2/health/ready", *(f"/v2/models/{model}/ready" for model in models)]
    return all(_get(endpoints.host, endpoints.http_port, path) is not None for path in paths)


def server_version(endpoints: Endpoints) -> tuple[int, ...]:
    """Triton's version as numbers, such as (2, 51, 0); empty if the server does not say."""
    metadata = _get(endpoints.host, endpoints.http_port, "/v2")
    numbers = json.loads(metadata)["version"].split(".") if metadata else []
    return tuple(int(number) for number in numbers if number.isdecimal())


def answer_one_request(endpoints: Endpoints, wait: Callable[[], None]) -> None:
    """Send a one-token request: readiness alone says nothing about the Python processes.

    Args:
        endpoints: The server.
        wait: Called again and again until the answer is there; what it raises ends the wait.

    Raises:
        StartError: the server answered with an error.
    """
    connection = HTTPConnection(endpoints.host, endpoints.http_port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"/v2/models/{PUBLIC_MODEL}/generate", json.dumps(_FIRST_REQUEST))
        while not select.select([connection.sock], [], [], 0)[0]:
            wait()
        response = connection.getresponse()
        body = response.read().decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        raise StartError(f"The first request got no answer: {str(error) or type(error).__name__}.") from error
    finally:
        connection.close()
    if response.status != 200:
        raise StartError(f"The first request was answered with HTTP {response.status}: {body}")


def requests_in_flight(endpoints: Endpoints) -> int | None:
    """How many requests the models work on; None if the server does not say."""
    text = _get(endpoints.host, endpoints.metrics_port, "/metrics")
    return None if text is None else sum_of_gauge(text, IN_FLIGHT_METRIC)


def sum_of_gauge(exposition: str, name: str) -> int:
    """Sum of a gauge over its label sets, from Prometheus' text format; 0 if it is not there."""
    lines = (line for line in exposition.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


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
