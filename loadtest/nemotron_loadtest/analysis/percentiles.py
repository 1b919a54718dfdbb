"""Exact percentiles, and what else a distribution is told by.

The percentile p of n values is the one at rank ceil(p/100 * n) of the sorted values, counted from 1 (nearest rank,
Hyndman and Fan's definition 1). It is always a value that was measured; nothing is interpolated and nothing is put
into buckets.

A percentile needs 100 / (100 - p) values, so that at least one value lies beyond it: 2 for p50, 10 for p90, 20 for
p95, 100 for p99, 1,000 for p99.9. Of fewer it would be the maximum under another name, and there is none. That many
are the least, not enough for much trust: the true percentile lies below the largest of n values with a chance of
1 - (p/100)^n (Wilks), which takes 299 values at p99 for 95 %.

Confidence intervals need the quantiles of Student's t distribution as well: `t_quantile`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import Literal, get_args

import msgspec
import numpy as np

from nemotron_loadtest.metrics import Array

Percentile = Literal["p50", "p90", "p95", "p99", "p99_9"]

# In thousandths, so that ranks are whole-number arithmetic.
_PER_MILLE: dict[Percentile, int] = {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p99_9": 999}
PERCENTILES: tuple[Percentile, ...] = get_args(Percentile)


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """What the values of a metric were like.

    Attributes:
        count: How many there were.
        min: The least; None without values, as the rest.
        max: The largest.
        mean: Arithmetic mean.
        std: Standard deviation of the sample (n - 1); None below two values.
        p50: Median, and so on; None where there were too few values for it (`samples_needed`).
        p90: 90th percentile.
        p95: 95th percentile.
        p99: 99th percentile.
        p99_9: 99.9th percentile.
    """

    count: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None

    def at(self, name: Percentile) -> float | None:
        """A percentile by name."""
        value: float | None = getattr(self, name)
        return value


def samples_needed(name: Percentile) -> int:
    """How many values a percentile needs."""
    return math.ceil(1000 / (1000 - _PER_MILLE[name]))


def samples_for_trust(name: Percentile) -> int:
    """How many values it takes for the largest to lie above the true percentile with a chance of 95 %."""
    return math.ceil(math.log(0.05) / math.log(_PER_MILLE[name] / 1000))


def percentile(ordered: Array, name: Percentile) -> float | None:
    """The percentile of sorted values; None where they are too few."""
    if len(ordered) < samples_needed(name):
        return None
    return float(ordered[rank(len(ordered), name) - 1])


def rank(count: int, name: Percentile) -> int:
    """Place of a percentile among so many sorted values, from 1."""
    return -(-_PER_MILLE[name] * count // 1000)


def describe(values: Array | Iterable[float]) -> Distribution:
    """The distribution of values in any order; their order makes no difference to the last bit."""
    array = values if isinstance(values, np.ndarray) else np.fromiter(values, np.float64)
    count = len(array)
    if not count:
        return Distribution(count=0)
    ordered = np.sort(array)
    return Distribution(
        count=count,
        min=float(ordered[0]),
        max=float(ordered[-1]),
        mean=float(ordered.mean()),
        std=float(ordered.std(ddof=1)) if count > 1 else None,
        **{name: percentile(ordered, name) for name in PERCENTILES},
    )


def t_quantile(probability: float, freedom: float) -> float:
    """The value below which a t variable lies with this probability.

    An expansion around the normal quantile, to within 0.5 % from 4 degrees of freedom on (below, it is too small).

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
