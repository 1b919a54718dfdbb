"""The four kinds of metric, and what every metric says of itself.

Latency     one value a request: from its start, intended or actual, until something happened
PerRequest  one value a request
Gaps        many values a request, each standing for a number of tokens
Ratio       one figure for a window: a sum over another sum, so that parts of a window or of a fleet can be added up

A value that a request does not have is None: it is left out and never counted as 0.

Every figure is worked out for all requests, and apart for those with thinking on and off. The lengths of a thinking
model's outputs have two modes, far from each other. A figure over both says how the mix was; only the figures apart can
be compared between runs with different mixes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np

from nemotron_loadtest.metrics.traffic import Array, Traffic
from nemotron_loadtest.samples import Sample

Better = Literal["lower", "higher", "neither"]
Origin = Literal["intended", "actual"]
Thinking = Literal["all", "on", "off"]


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

    def values(self, samples: Iterable[Sample], origin: Origin) -> Array:
        """The latencies of the requests that have one, in their order."""
        return _array(self.of(sample, origin) for sample in samples)


@dataclass(frozen=True, kw_only=True)
class PerRequest(Metric):
    """One value a request."""

    of: Callable[[Sample], float | None]

    def values(self, samples: Iterable[Sample]) -> Array:
        """The values of the requests that have one, in their order."""
        return _array(self.of(sample) for sample in samples)


@dataclass(frozen=True, kw_only=True)
class Gaps(Metric):
    """Pairs of a value and the number of times that it counts."""

    of: Callable[[Sample], Iterator[tuple[float, int]]]

    def values(self, samples: Iterable[Sample]) -> Array:
        """Every gap of the requests, as often as it counts."""
        # From an iterator: a long run has millions of gaps.
        flat = chain.from_iterable(pair for sample in samples for pair in self.of(sample))
        pairs = np.fromiter(flat, np.float64).reshape(-1, 2)
        return np.repeat(pairs[:, 0], pairs[:, 1].astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class Ratio(Metric):
    """Two sums over a window, the first to be divided by the second."""

    of: Callable[[Traffic], tuple[float, float]]

    def value(self, traffic: Traffic) -> float | None:
        """The ratio; None over nothing."""
        part, whole = self.of(traffic)
        return part / whole if whole else None


def is_about(thinking: Thinking, sample: Sample) -> bool:
    """Whether a figure for this thinking counts this request."""
    return thinking == "all" or sample.thinking == (thinking == "on")


def _array(found: Iterable[float | None]) -> Array:
    return np.array([value for value in found if value is not None], np.float64)
