"""How the values of a metric are spread: what histograms and tail curves are drawn from, small at any run's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from nemotron_loadtest.analysis.values import latencies, values
from nemotron_loadtest.metrics import METRICS, Gaps, Latency, Origin, PerRequest, Thinking, is_about
from nemotron_loadtest.metrics.traffic import Array
from nemotron_loadtest.samples import Sample

_MOST_BINS, _LEAST_BINS = 48, 8
_TAIL_POINTS = 80
_DRAWN_SHARE = 0.99
_FAR = 8.0  # Where the largest value is so many times the least median, bins grow with the values.
_LEAST = 0.01  # Nothing shorter is told apart where bins grow.

DRAWN = ("ttft_ms", "itl_ms", "response_gap_ms", "e2e_ms", "schedule_delay_ms")
"""Metrics that reports draw."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The values of some requests.

    Attributes:
        thinking: Of which requests.
        origin: From which start, for a latency; else None.
        count: Values.
        counts: Of them, those in each bin; the slowest few of many may lie beyond the last.
        tail: Pairs of a share and the value that this share of the values does not exceed (nearest rank).
    """

    thinking: Thinking
    origin: Origin | None
    count: int
    counts: tuple[int, ...]
    tail: tuple[tuple[float, float], ...]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A metric.

    Attributes:
        metric: Name.
        edges: Of the bins, one more than there are bins; empty without values.
        growing: Whether the bins grow with the values, each by the same factor.
        shapes: On the same bins: thinking on and off, from each start; only those with values.
    """

    metric: str
    edges: tuple[float, ...]
    growing: bool
    shapes: tuple[Shape, ...]


def spreads(began: Sequence[Sample]) -> tuple[Spread, ...]:
    """Of the metrics that reports draw.

    Args:
        began: Requests that began in the window.
    """
    return tuple(_spread(name, began) for name in DRAWN)


def _spread(name: str, began: Sequence[Sample]) -> Spread:
    found = [(thinking, origin, array) for thinking, origin, array in _arrays(name, began) if len(array)]
    edges, growing = _edges([array for _, _, array in found])
    return Spread(
        metric=name,
        edges=tuple(edges.tolist()),
        growing=growing,
        shapes=tuple(
            Shape(thinking=thinking, origin=origin, count=len(array), counts=_counts(array, edges), tail=_tail(array))
            for thinking, origin, array in found
        ),
    )


def _arrays(name: str, began: Sequence[Sample]) -> Iterator[tuple[Thinking, Origin | None, Array]]:
    metric = METRICS[name]
    modes: tuple[Thinking, ...] = ("on", "off")
    for thinking in modes:
        about = [sample for sample in began if is_about(thinking, sample)]
        if isinstance(metric, Latency):
            yield thinking, "intended", latencies(metric, about, "intended")
            yield thinking, "actual", latencies(metric, about, "actual")
        elif isinstance(metric, (PerRequest, Gaps)):
            yield thinking, None, values(metric, about)


def _edges(arrays: Sequence[Array]) -> tuple[Array, bool]:
    if not arrays:
        return np.array([], np.float64), False
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    # As many as the smallest set of values fills: 2 n^(1/3) (Rice), and half as many more for a long tail.
    bins = round(min(_MOST_BINS, max(_LEAST_BINS, 3 * min(len(array) for array in arrays) ** (1 / 3))))
    median = max(_LEAST, min(float(np.median(array)) for array in arrays))
    if high / median > _FAR:
        return np.geomspace(max(low, _LEAST), high, bins + 1), True
    # A few very slow ones would press all others into one bin; the tail shows them.
    high = max(float(np.quantile(array, _DRAWN_SHARE, method="inverted_cdf")) for array in arrays)
    if high - low < 1e-9 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1), False


def _counts(array: Array, edges: Array) -> tuple[int, ...]:
    counts, _ = np.histogram(np.maximum(array, edges[0]), edges)
    return tuple(int(count) for count in counts)


def _tail(array: Array) -> tuple[tuple[float, float], ...]:
    """At shares whose distance from 1 shrinks by the same factor, so that the tail has as many points as the body."""
    ordered = np.sort(array)
    count = len(ordered)
    beyond = np.geomspace(1.0, 1.0 / count, _TAIL_POINTS) if count > 1 else np.array([1.0])
    ranks = sorted({min(count, max(1, round(count * (1 - share)) + 1)) for share in beyond})
    return tuple((rank / (count + 1), float(ordered[rank - 1])) for rank in ranks)
