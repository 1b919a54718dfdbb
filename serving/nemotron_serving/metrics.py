"""The metrics of the models, as one table, and where each process gathers them before they are published.

The table is rendered into docs/metrics.md. Triton's own metrics see neither our queue nor how a request ended, so
these stand beside them on its page; `nemotron_serving.stages.reporting` brings them there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

IN_FLIGHT = "nemotron_requests_in_flight"
"""What a drain waits for."""

Kind = Literal["counter", "gauge", "histogram"]
Outcome = Literal["ok", "refused", "invalid", "cancelled", "timeout", "error"]
Thinking = Literal["on", "off", "unknown"]

_WAIT_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 50, 100, 200, 400, 800, 1600, 3200)
_ITL_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.35, 0.6, 1, 2)

Labels = Mapping[str, tuple[str, ...]]
"""Labels, and their values as far as they are known."""

_GENERATING: Mapping[str, Labels] = {"tensorrt_llm": {}}


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: As it stands on the page.
        kind: What Prometheus calls it.
        text: What it says, for the page and for the docs.
        models: The models that have it, which the label `model` names, and the further labels that each of them gives
            it. Counters have a series for each of their values from the start.
        buckets: Upper bounds of a histogram's.
    """

    name: str
    kind: Kind
    text: str
    models: Mapping[str, Labels] = _GENERATING
    buckets: tuple[float, ...] = ()


METRICS = (
    Metric(
        "nemotron_requests_total",
        "counter",
        "Requests that are over, by how they ended and whether the model was to think",
        {
            "tensorrt_llm": {"outcome": get_args(Outcome), "thinking": get_args(Thinking)},
            "preprocessing": {"outcome": ("refused", "invalid", "error"), "thinking": ("unknown",)},
        },
    ),
    Metric(
        "nemotron_tokens_total",
        "counter",
        "Tokens of requests that are over: prompt, cached (of the prompt), output, reasoning (of the output)",
        {
            "tensorrt_llm": {"kind": ("prompt", "cached", "output", "reasoning")},
            "postprocessing": {"kind": ("reasoning",)},
        },
    ),
    Metric("nemotron_ttft_seconds", "histogram", "From a request's arrival to its first token", buckets=_WAIT_S),
    Metric("nemotron_wait_seconds", "histogram", "From a request's arrival until the engine had it", buckets=_WAIT_S),
    Metric(
        "nemotron_itl_seconds", "histogram", "Mean time between two tokens of a request with several", buckets=_ITL_S
    ),
    Metric("nemotron_request_seconds", "histogram", "From a request's arrival to its end", buckets=_WAIT_S),
    Metric(IN_FLIGHT, "gauge", "Requests admitted and not yet answered in full"),
    Metric("nemotron_requests_running", "gauge", "Requests that are generating"),
    Metric("nemotron_requests_waiting", "gauge", "Requests that wait for a place in the batch"),
    Metric("nemotron_max_requests_in_flight", "gauge", "Requests that are admitted at one time"),
    Metric("nemotron_max_batch_size", "gauge", "Requests that generate at one time"),
    Metric("nemotron_kv_cache_used_ratio", "gauge", "Share of the KV cache in use, 0 to 1"),
    Metric("nemotron_kv_cache_tokens", "gauge", "Tokens that the KV cache holds"),
    Metric("nemotron_sessions", "gauge", "Sessions that are open, with requests or without"),
    Metric("nemotron_draining", "gauge", "1 from the first moment of a drain on, before it 0"),
    Metric("nemotron_start_time_seconds", "gauge", "When the model was loaded, in seconds since 1970"),
    Metric(
        "nemotron_build_info",
        "gauge",
        "1, with what is served in the labels",
        {"tensorrt_llm": dict.fromkeys(("version", "package", "engine", "precision", "device"), ())},
    ),
    Metric(
        "nemotron_postprocessing_streams",
        "gauge",
        "Streams that postprocessing keeps state for; 0 when nothing is in flight",
        {"postprocessing": {}},
    ),
)


def metrics_table() -> str:
    """The table, in Markdown, as docs/metrics.md has it."""
    rows = [f"| `{one.name}` | {one.kind} | {_labels_of(one)} | {one.text} |\n" for one in METRICS]
    return "| metric | kind | labels, and their values | |\n|---|---|---|---|\n" + "".join(rows)


def _labels_of(metric: Metric) -> str:
    """The labels that a metric has; those of the first model that has it, which are the most."""
    labels = {"model": tuple(metric.models), **next(iter(metric.models.values()))}
    return "; ".join(f"`{name}` {', '.join(values)}".rstrip() for name, values in labels.items())


class Series(NamedTuple):
    """One line of the page: a metric with its labels, in their order, but for `model`."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class Recorder:
    """What one process has to say, until it is taken to be published. For all threads; a call takes about 1 µs.

    Args:
        most: Observations that are kept until they are taken; the oldest are forgotten.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._counted: dict[Series, float] = {}
        self._observed: list[tuple[Series, float]] = []
        self._set: dict[Series, float] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            series = _series(name, labels)
            self._counted[series] = self._counted.get(series, 0) + amount

    def observe(self, name: str, value: float) -> None:
        """Add a value to a histogram."""
        with self._lock:
            self._observed.append((_series(name, {}), value))
            del self._observed[: max(0, len(self._observed) - self._most)]

    def set(self, name: str, value: float, **labels: str) -> None:
        """Say what a gauge is."""
        with self._lock:
            self._set[_series(name, labels)] = value

    def take(self) -> tuple[dict[Series, float], dict[Series, float], list[tuple[Series, float]]]:
        """All gauges as they are; what was added to counters, and observed, since the last call."""
        with self._lock:
            counted, self._counted = self._counted, {}
            observed, self._observed = self._observed, []
            return dict(self._set), counted, observed


def _series(name: str, labels: Mapping[str, str]) -> Series:
    return Series(name, tuple(sorted(labels.items())))
