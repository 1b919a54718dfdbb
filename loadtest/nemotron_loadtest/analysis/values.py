"""The values of a metric, from samples to arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from nemotron_loadtest.metrics import Gaps, Latency, Origin, PerRequest
from nemotron_loadtest.metrics.traffic import Array
from nemotron_loadtest.samples import Sample


def latencies(metric: Latency, samples: Iterable[Sample], origin: Origin) -> Array:
    """Of the requests that have one."""
    return _array([metric.of(sample, origin) for sample in samples])


def values(metric: PerRequest | Gaps, samples: Sequence[Sample]) -> Array:
    """Of the requests that have one; every gap as often as it counts."""
    if isinstance(metric, PerRequest):
        return _array([metric.of(sample) for sample in samples])
    # From an iterator: a long run has millions of gaps.
    flat = chain.from_iterable(pair for sample in samples for pair in metric.of(sample))
    pairs = np.fromiter(flat, np.float64).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1].astype(np.int64))


def _array(found: Iterable[float | None]) -> Array:
    return np.array([value for value in found if value is not None], np.float64)
