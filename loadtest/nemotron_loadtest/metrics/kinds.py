"""The four kinds of metric, and what every metric says of itself.

Latency     one value a request: from its start, intended or actual, until something happened
PerRequest  one value a request
Gaps        many values a request, each standing for a number of tokens
Ratio       one figure for a window: a sum over another sum, so that parts of a window or of a fleet can be added up

A value that a request does not have is None: it is left out and never counted as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from nemotron_loadtest.metrics.traffic import Traffic
from nemotron_loadtest.samples import Sample

Better = Literal["lower", "higher", "neither"]
Origin = Literal["intended", "actual"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What reports need to know of a metric.

    Attributes:
        name: Its key in summaries and SLO files; ends in its unit where it has one.
        title: For people.
        unit: `ms`, `tokens`, `tokens/s`, `requests/s`, `requests`, or `share` (0 to 1).
        better: Which direction is an improvement; `neither` for what the workload decides.
    """

    name: str
    title: str
    unit: str
    better: Better


@dataclass(frozen=True, kw_only=True)
class Latency(Metric):
    """Milliseconds from the start of a request until an instant."""

    until: Callable[[Sample], float | None]

    def of(self, sample: Sample, origin: Origin) -> float | None:
        """Response latency from the intended start, service latency from the actual one."""
        until_s = self.until(sample)
        if until_s is None:
            return None
        return (until_s - (sample.intended_s if origin == "intended" else sample.started_s)) * 1e3


@dataclass(frozen=True, kw_only=True)
class PerRequest(Metric):
    """One value a request."""

    of: Callable[[Sample], float | None]


@dataclass(frozen=True, kw_only=True)
class Gaps(Metric):
    """Pairs of a value and the number of times that it counts."""

    of: Callable[[Sample], Iterator[tuple[float, int]]]


@dataclass(frozen=True, kw_only=True)
class Ratio(Metric):
    """Two sums over a window, the first to be divided by the second."""

    of: Callable[[Traffic], tuple[float, float]]

    def value(self, traffic: Traffic) -> float | None:
        """The ratio; None over nothing."""
        part, whole = self.of(traffic)
        return part / whole if whole else None
