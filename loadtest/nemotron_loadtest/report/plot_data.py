"""What plots are drawn from, small at any run's size: how values are spread, and what servers said over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import numpy as np

from nemotron_loadtest.metrics import METRICS, Array, Gaps, Latency, Origin, PerRequest, Thinking, is_about
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.server import ServerSample

_MOST_BINS, _LEAST_BINS = 48, 8
_TAIL_POINTS = 80
_DRAWN_SHARE = 0.99
_FAR = 8.0  # Where the largest value is so many times the least median, bins grow with the values.
_LEAST = 0.01  # Nothing shorter is told apart where bins grow.
_MOST_POINTS = 240

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
        edges: The edges of the bins, one more than there are bins; empty without values.
        growing: Whether the bins grow with the values, each by the same factor.
        shapes: On the same bins: thinking on and off, from each start; only those with values.
    """

    metric: str
    edges: tuple[float, ...]
    growing: bool
    shapes: tuple[Shape, ...]


class ServerPoint(msgspec.Struct, frozen=True, kw_only=True):
    """All servers in a slice of time, means over the slice; None where no sample said so.

    Attributes:
        at_s: Its middle.
        scraped: Share of the looks that found a metrics page.
        in_flight: Requests admitted and not yet answered in full, of all servers.
        running: Requests that generate.
        waiting: Requests that wait for a place in the batch.
        kv_cache_used: Share of the KV cache, mean over the servers.
        queue_ms: Wait in Triton's own queues, mean over the servers.
        cpu_cores: Cores that all servers' processes use.
        memory_bytes: Memory of all servers' processes.
        gpu_busy: Mean over the GPUs.
        gpu_memory_used: Share of the GPUs' memory.
    """

    at_s: float
    scraped: float
    in_flight: float | None
    running: float | None
    waiting: float | None
    kv_cache_used: float | None
    queue_ms: float | None
    cpu_cores: float | None
    memory_bytes: float | None
    gpu_busy: float | None
    gpu_memory_used: float | None


def spreads(began: Sequence[Sample]) -> tuple[Spread, ...]:
    """The spreads of the metrics that reports draw.

    Args:
        began: Requests that began in the window.
    """
    return tuple(_spread(name, began) for name in DRAWN)


def server_points(samples: Sequence[ServerSample]) -> tuple[ServerPoint, ...]:
    """At most some two hundred points, in order."""
    if not samples:
        return ()
    first, last = min(sample.at_s for sample in samples), max(sample.at_s for sample in samples)
    servers = len({sample.server for sample in samples})
    slices = max(1, min(_MOST_POINTS, len(samples) // servers))
    width_s = (last - first) / slices or 1.0
    within: dict[int, list[ServerSample]] = defaultdict(list)
    for sample in samples:
        within[min(slices - 1, int((sample.at_s - first) / width_s))].append(sample)
    return tuple(_point(within[place]) for place in sorted(within))


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
            yield thinking, "intended", metric.values(about, "intended")
            yield thinking, "actual", metric.values(about, "actual")
        elif isinstance(metric, (PerRequest, Gaps)):
            yield thinking, None, metric.values(about)


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


def _point(samples: Sequence[ServerSample]) -> ServerPoint:
    def total(of: Callable[[ServerSample], float | None]) -> float | None:
        """The sum over the servers of each server's mean."""
        means = [_mean(of(sample) for sample in some) for some in _by_server(samples)]
        known = [mean for mean in means if mean is not None]
        return sum(known) if known else None

    return ServerPoint(
        at_s=sum(sample.at_s for sample in samples) / len(samples),
        scraped=sum(sample.scraped for sample in samples) / len(samples),
        in_flight=total(lambda sample: sample.in_flight),
        running=total(lambda sample: sample.running),
        waiting=total(lambda sample: sample.waiting),
        kv_cache_used=_mean(sample.kv_cache_used for sample in samples),
        queue_ms=_mean(sample.queue_ms for sample in samples),
        cpu_cores=total(lambda sample: sample.cpu_cores),
        memory_bytes=total(lambda sample: sample.memory_bytes),
        gpu_busy=_mean(gpu.busy for sample in samples for gpu in sample.gpus),
        gpu_memory_used=_mean(gpu.memory_bytes / gpu.memory_total_bytes for sample in samples for gpu in sample.gpus),
    )


def _by_server(samples: Iterable[ServerSample]) -> Iterable[list[ServerSample]]:
    servers: dict[str, list[ServerSample]] = defaultdict(list)
    for sample in samples:
        servers[sample.server].append(sample)
    return servers.values()


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
