"""Our metrics on Triton's page, kept up to date beside the request path."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from nemotron_serving.metrics import METRICS, Metric, Recorder, Series

_log = logging.getLogger(__name__)

_INTERVAL_S = 0.25


class Published(Protocol):
    """A series on Triton's page. Each call is a round trip to the server."""

    def set(self, value: float) -> None:
        """Say what a gauge is."""

    def increment(self, value: float) -> None:
        """Add to a counter."""

    def observe(self, value: float) -> None:
        """Add a value to a histogram."""


class MetricsReporter:
    """Publishes what a model's process has recorded, from a thread of its own.

    Args:
        model: Its name. Those of its metrics whose labels are known are there from now on, counters with 0.
        recorder: What it has recorded.
        look: Called a few times a second, from that thread, to have gauges set.
        publish: Makes a series; `labels` are all of its labels.
    """

    def __init__(
        self,
        model: str,
        recorder: Recorder,
        look: Callable[[], None],
        publish: Callable[[Metric, dict[str, str]], Published],
    ) -> None:
        self._model = model
        self._recorder = recorder
        self._look = look
        self._publish = publish
        self._metrics = {one.name: one for one in METRICS if model in one.models}
        self._gauges: dict[Series, float] = {}
        self._counted: dict[Series, float] = {}  # and not published yet
        self._series: dict[Series, Published] = {}
        for series in _known(model):
            self._of(series)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemotron-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of the series: Triton crashes if they outlive the model."""
        self._closing.set()
        self._thread.join()
        self._series.clear()

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_S):
            try:
                self._look()
                self._bring()
            except Exception:
                # Draining reads these gauges: one failed update must not freeze them.
                _log.exception("metrics not published")

    def _bring(self) -> None:
        gauges, counted, observed = self._recorder.take()
        for series, amount in counted.items():
            self._counted[series] = self._counted.get(series, 0) + amount
        for series, value in gauges.items():
            if self._gauges.get(series) != value:
                self._of(series).set(value)
                self._gauges[series] = value
        for series in list(self._counted):
            self._of(series).increment(self._counted[series])
            del self._counted[series]
        for series, value in observed:
            self._of(series).observe(value)

    def _of(self, series: Series) -> Published:
        published = self._series.get(series)
        if published is None:
            labels = {"model": self._model, **dict(series.labels)}
            published = self._series[series] = self._publish(self._metrics[series.name], labels)
        return published


def _known(model: str) -> Iterator[Series]:
    """The series of a model that are there from the start: gauges are once they are set."""
    for metric in METRICS:
        labels = metric.models.get(model)
        if labels is not None and metric.kind != "gauge":
            names = sorted(labels)
            for values in itertools.product(*(labels[name] for name in names)):
                yield Series(metric.name, tuple(zip(names, values, strict=True)))
