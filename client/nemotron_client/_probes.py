"""Questions about a server, not to its model: whether it takes requests, and what its metrics are."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from nemotron_client import _defaults
from nemotron_client._errors import (
    AuthenticationError,
    NemotronError,
    ServerUnavailableError,
    TlsError,
    TransportError,
    not_ready_in_time,
)

Answer = bool | NemotronError
"""What one server answers: whether it is ready, or why it has not answered."""


def may_take_requests(error: NemotronError) -> bool:
    """Whether a server may take requests although `ready_call` failed.

    One that drains refuses the question as it refuses requests, and one that hangs does not answer it. Any other error
    says no more than that this cannot be asked there: a gateway, say, lets nothing but the ensemble through.
    """
    return not isinstance(error, TransportError)


def any_yes(answers: Sequence[Answer]) -> bool:
    """Whether a server says yes.

    Raises:
        NemotronError: none does, and one has not answered, which might have.
    """
    if True in answers:
        return True
    for answer in answers:
        if isinstance(answer, NemotronError):
            raise answer
    return False


class ReadyWait:
    """One wait."""

    def __init__(self, urls: Sequence[str], timeout_s: float) -> None:
        self._urls = urls
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s

    def probe_timeout_s(self) -> float:
        """How long the next server may take to answer."""
        left = self._until - time.monotonic()
        return min(_defaults.PROBE_TIMEOUT_S, max(_defaults.READY_POLL_S, left))

    def pause_after(self, answers: Sequence[Answer]) -> float | None:
        """Seconds until the servers are asked again; None where one is ready.

        Raises:
            AuthenticationError: for all of them waiting does not help; or TlsError.
            ModelNotReadyError: the time is over, and a server answers.
            ServerUnavailableError: the time is over, and none answers.
        """
        if True in answers:
            return None
        hopeless = [answer for answer in answers if isinstance(answer, (AuthenticationError, TlsError))]
        if len(hopeless) == len(answers):
            raise hopeless[-1]
        left = self._until - time.monotonic()
        if left <= 0:
            reasons = [str(answer) for answer in answers if isinstance(answer, NemotronError)]
            reason = reasons[-1] if reasons else ""
            raise not_ready_in_time(self._urls, self._timeout_s, live=False in answers, reason=reason)
        return min(_defaults.READY_POLL_S, left)


Metrics = dict[str, list[tuple[dict[str, str], float]]]
"""Metric name → its values, each with its labels."""

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\.")
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def metrics_url(url: str, *, named: bool) -> str:
    """Where the server has its metrics page, if nobody says.

    Args:
        url: The server.
        named: Whether the program named it. Else the environment did, which may name the metrics page too.
    """
    if not named and (found := os.environ.get(_defaults.METRICS_URL_VARIABLE)):
        return found
    host = urlsplit(url).hostname or ""
    return f"http://{f'[{host}]' if ':' in host else host}:{_defaults.METRICS_PORT}/metrics"


def parse(text: str) -> Metrics:
    """The values on a metrics page."""
    found: Metrics = {}
    for line in text.splitlines():
        if sample := _SAMPLE.match(line):
            name, labels, value = sample.groups()
            found.setdefault(name, []).append((_labels(labels or ""), float(value)))
    return found


def fetch(url: str) -> Metrics:
    """Get the page and read it. The client's headers are not sent along: the page has no TLS.

    Raises:
        ServerUnavailableError: it cannot be had.
        ValueError: no http:// or https:// URL.
    """
    import http.client
    import urllib.request

    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"metrics_url: {url!r} was given, expected http://HOST:PORT/metrics")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # as all other requests
    try:
        with direct.open(url, timeout=_defaults.PROBE_TIMEOUT_S) as page:
            return parse(page.read().decode())
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error) if isinstance(error, OSError) else "it is no metrics page"
        message = f"{url} cannot be read ({reason}). If the server has its metrics elsewhere, pass `metrics_url`."
        raise ServerUnavailableError(message, request_id="", url=url) from error


def _labels(text: str) -> dict[str, str]:
    return {name: _ESCAPE.sub(lambda one: _ESCAPES.get(one[0], one[0]), value) for name, value in _LABEL.findall(text)}
