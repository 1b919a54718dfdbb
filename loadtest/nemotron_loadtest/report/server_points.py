"""What was scraped from the servers, thinned out for plots and added up over the servers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from nemotron_loadtest.server import ServerSample

_MOST = 240


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
        cpu_cores: Of all servers' processes.
        memory_bytes: Of all servers' processes.
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


def server_points(samples: Sequence[ServerSample]) -> tuple[ServerPoint, ...]:
    """At most some two hundred points, in order."""
    if not samples:
        return ()
    first, last = min(sample.at_s for sample in samples), max(sample.at_s for sample in samples)
    servers = len({sample.server for sample in samples})
    slices = max(1, min(_MOST, len(samples) // servers))
    width_s = (last - first) / slices or 1.0
    within: dict[int, list[ServerSample]] = defaultdict(list)
    for sample in samples:
        within[min(slices - 1, int((sample.at_s - first) / width_s))].append(sample)
    return tuple(_point(within[place]) for place in sorted(within))


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
