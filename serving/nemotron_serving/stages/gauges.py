"""Gauges on Triton's metrics endpoint, kept up to date beside the request path."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

_log = logging.getLogger(__name__)

_INTERVAL_S = 0.25


class Gauge(Protocol):
    """A metric of Triton's Python backend."""

    def set(self, value: float) -> None:
        """Publish a value (a round trip to the server)."""


class GaugeReporter:
    """Publishes values that changed, from a thread of its own."""

    def __init__(self, gauges: Mapping[str, Gauge], read: Callable[[], Mapping[str, float]]) -> None:
        self._gauges = gauges
        self._read = read
        self._published: dict[str, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemotron-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of the gauges: Triton crashes if they outlive the model."""
        self._closing.set()
        self._thread.join()
        self._gauges = {}

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_S):
            try:
                self._publish()
            except Exception:
                # Draining reads these gauges: one failed update must not freeze them.
                _log.exception("metrics not published")

    def _publish(self) -> None:
        for name, value in self._read().items():
            if self._published.get(name) != value:
                self._gauges[name].set(value)
                self._published[name] = value
