"""Confidence intervals for the ratio of a statistic between two measurements, by resampling.

Neighbouring requests share a queue, so single requests are not independent and resampling them would promise too
much. What is resampled are units: whole runs where there are enough of them, otherwise blocks of a run's time (block
bootstrap). A unit is weighted by how often it was drawn.

Source: Kuensch 1989 (blocks); Hesterberg 2015, "What Teachers Should Know about the Bootstrap" (the expanded
percentile interval, which makes up for few units).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from nemotron_loadtest.analysis.percentiles import Percentile, percentile, rank, t_quantile
from nemotron_loadtest.metrics import Array

MOST_VALUES = 20_000
"""Of more values (gaps), so many are drawn at random for the intervals; the statistic itself is of all."""


class Draws:
    """How often each unit of a measurement was drawn, for each resample."""

    def __init__(self, units: int, resamples: int, rng: np.random.Generator) -> None:
        self.units = units
        self.counts: Array = rng.multinomial(units, [1 / units] * units, size=resamples).astype(np.float64)


@dataclass(frozen=True)
class Sums:
    """A sum over another, by unit: a mean, a rate, a share."""

    parts: Sequence[float]
    wholes: Sequence[float]

    def value(self) -> float | None:
        """Over all units; None over nothing."""
        whole = sum(self.wholes)
        return sum(self.parts) / whole if whole else None

    def resampled(self, draws: Draws) -> Array:
        """In each resample; NaN over nothing."""
        wholes = draws.counts @ np.array(self.wholes)
        with np.errstate(invalid="ignore"):
            return np.where(wholes > 0, (draws.counts @ np.array(self.parts)) / np.maximum(wholes, 1e-300), np.nan)


class Quantiles:
    """Percentiles of values that belong to units."""

    def __init__(self, by_unit: Sequence[Array], rng: np.random.Generator) -> None:
        values = np.concatenate(by_unit)
        units = np.repeat(np.arange(len(by_unit)), [len(part) for part in by_unit])
        order = np.argsort(values, kind="stable")
        self._ordered = values[order]
        if len(order) > MOST_VALUES:
            order = order[np.sort(rng.choice(len(order), MOST_VALUES, replace=False))]
        self._kept, self._unit = values[order], units[order]

    def value(self, name: Percentile) -> float | None:
        """The percentile of all values; None of too few."""
        return percentile(self._ordered, name)

    def resampled(self, names: Sequence[Percentile], draws: Draws) -> dict[Percentile, Array]:
        """In each resample; NaN in one that drew no value."""
        found = np.full((len(names), len(draws.counts)), np.nan)
        for place, counts in enumerate(draws.counts):
            reached = np.cumsum(counts[self._unit])
            total = int(reached[-1]) if len(reached) else 0
            if total:
                ranks = [rank(total, name) for name in names]
                found[:, place] = self._kept[np.searchsorted(reached, ranks)]
        return dict(zip(names, found, strict=True))


def interval(ratios: Array, units: int, confidence: float) -> tuple[float, float] | None:
    """Expanded percentile interval of resampled ratios; None where a tenth of them or more have no value."""
    usable = ratios[np.isfinite(ratios)]
    if units < 2 or len(usable) <= 0.9 * len(ratios):
        return None
    t = t_quantile((1 + confidence) / 2, units - 1)
    tail = NormalDist().cdf(-t * math.sqrt(units / (units - 1)))
    low, high = np.quantile(usable, [tail, 1 - tail])
    return float(low), float(high)
