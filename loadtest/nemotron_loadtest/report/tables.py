"""CSV: a row a request, and a row a metric."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from nemotron_loadtest.analysis import PERCENTILES, Distribution, Group, Summary
from nemotron_loadtest.metrics import DISTRIBUTIONS, LATENCIES, METRICS, RATIOS, Latency, PerRequest, Window
from nemotron_loadtest.samples import Sample

_PER_REQUEST = tuple(
    metric for metric in DISTRIBUTIONS if isinstance(metric, PerRequest) and not hasattr(Sample, metric.name)
)
_PLAIN = (
    "request_id",
    "worker",
    "user",
    "thinking",
    "turn",
    "outcome",
    "error_type",
    "finish_reason",
    "intended_s",
    "started_s",
    "ended_s",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_STATISTICS = ("count", "mean", "std", "min", "max", *PERCENTILES)


def write_requests(samples: Iterable[Sample], window: Window, path: Path) -> None:
    """A row a request, in the order of their intended starts; nothing in a field is no value.

    Latencies are in milliseconds from the intended start, and again from the actual one. `measured` tells whether
    the request is part of the figures: whether it began in the window.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*_PLAIN, "measured", *_latency_columns(), *(metric.name for metric in _PER_REQUEST)])
        for sample in sorted(samples, key=lambda sample: sample.intended_s):
            table.writerow([*_request(sample), int(window.holds(sample.intended_s)), *_values(sample)])


def write_metrics(summary: Summary, path: Path) -> None:
    """A row a metric, for all requests and for those with thinking on and off, from each start."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["metric", "title", "unit", "thinking", "from", "value", *_STATISTICS])
        for thinking, group in summary.groups.items():
            for name, origin, value in _rows(group):
                metric = METRICS[name]
                table.writerow([name, metric.title, metric.unit, thinking, origin, *_statistics(value)])


def _latency_columns() -> list[str]:
    names = [metric.name.removesuffix("_ms") for metric in LATENCIES]
    return [f"{name}{suffix}" for name in names for suffix in ("_ms", "_from_actual_ms")]


def _request(sample: Sample) -> list[object]:
    return [_shown(getattr(sample, name)) for name in _PLAIN]


def _values(sample: Sample) -> Iterator[object]:
    for latency in LATENCIES:
        yield _shown(latency.of(sample, "intended"))
        yield _shown(latency.of(sample, "actual"))
    for metric in _PER_REQUEST:
        yield _shown(metric.of(sample))


def _rows(group: Group) -> Iterator[tuple[str, str, Distribution | float | None]]:
    for metric in (*LATENCIES, *DISTRIBUTIONS):
        if isinstance(metric, Latency):
            yield metric.name, "intended", group.latencies[metric.name].intended
            yield metric.name, "actual", group.latencies[metric.name].actual
        else:
            yield metric.name, "", group.distributions[metric.name]
    for ratio in RATIOS:
        yield ratio.name, "", group.figures[ratio.name]


def _statistics(value: Distribution | float | None) -> list[object]:
    if isinstance(value, Distribution):
        return ["", *(_shown(getattr(value, name)) for name in _STATISTICS)]
    return [_shown(value), *("" for _ in _STATISTICS)]


def _shown(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return round(value, 6) if isinstance(value, float) else value
