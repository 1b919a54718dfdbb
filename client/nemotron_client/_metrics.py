"""Reads the server's metrics page, which is text in Prometheus' format."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from nemotron_client import _defaults
from nemotron_client._errors import ServerUnavailableError

Metrics = dict[str, list[tuple[dict[str, str], float]]]
"""Metric name → its values, each with its labels."""

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\.")
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def metrics_url(url: str, *, named: bool) -> str:
    """Where the server has its metrics page, if nobody says.

    Args:
        url: Of the server.
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
