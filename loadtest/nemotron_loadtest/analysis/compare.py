"""Whether two measurements differ, and by how much: `compare(a, b)`.

For each statistic the ratio b / a and its confidence interval. Where the interval holds 1, the difference is noise.
With three runs a side or more, the runs are what is resampled, and the interval tells what another run might have
given. With fewer, it is blocks of the runs' time: what differs from run to run (another start of the server, another
neighbour on the machine) is then not in the interval, and the comparison says so.

Many statistics are compared at once. At 95 % confidence, one in twenty that did not change is still called a change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec
import numpy as np

from nemotron_loadtest.analysis.bootstrap import Draws, Quantiles, Sums, interval
from nemotron_loadtest.analysis.percentiles import Percentile
from nemotron_loadtest.analysis.summary import check_length
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import (
    DISTRIBUTIONS,
    LATENCIES,
    RATIOS,
    Array,
    Metric,
    Origin,
    Thinking,
    Traffic,
    Window,
    is_about,
)
from nemotron_loadtest.samples import Sample

LEAST_RUNS = 3
_BLOCKS = 20
_STATISTICS: tuple[Percentile, ...] = ("p50", "p90", "p99")

Finding = Literal["better", "worse", "changed", "noise", "no value"]


@dataclass(frozen=True)
class Run:
    """A run's samples and the window that was measured."""

    samples: Sequence[Sample]
    window: Window


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic of both measurements.

    Attributes:
        metric: Name.
        statistic: `mean`, `p50`, `p90` or `p99` of a distribution; `value` of a single figure.
        origin: The start that a latency is measured from; None for other metrics.
        thinking: Which requests it is about.
        a: In the first.
        b: In the second.
        ratio: b / a; None where one has no value or a is 0.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
        finding: `noise` where the interval holds 1; `better` or `worse` as the metric goes; `changed` where it goes
            neither way; `no value` without an interval. Where a is 0 and b is not (errors, where there were none),
            it is read from the interval of b - a.
    """

    metric: str
    statistic: str
    origin: Origin | None
    thinking: Thinking
    a: float | None
    b: float | None
    ratio: float | None
    low: float | None
    high: float | None
    finding: Finding


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two measurements, side by side.

    Attributes:
        differences: In the order of the registry.
        runs_a: Runs of the first.
        runs_b: Runs of the second.
        resampled: What was resampled: `runs`, or `blocks` of their time.
        note: What the intervals cover.
        confidence: Confidence of the intervals, 0 to 1.
        resamples: How many.
        seed: Seed of the random draws.
    """

    differences: tuple[Difference, ...]
    runs_a: int
    runs_b: int
    resampled: Literal["runs", "blocks"]
    note: str
    confidence: float
    resamples: int
    seed: int

    def changes(self, most: int = 10) -> list[Difference]:
        """What differs beyond noise, the surest change first: of each metric the figure that changed most surely.

        How sure a change is: how far the nearer end of its interval lies from a ratio of 1; without a ratio (errors,
        where there were none) it comes first. A latency from its actual start is left to where the one from its
        intended start is noise, and a figure of the window for thinking on or off to where the one for all is.

        Args:
            most: How many.
        """
        found: dict[str, Difference] = {}
        for one in sorted(self._told("better", "worse", "changed"), key=_rank):
            found.setdefault(one.metric, one)
        return sorted(found.values(), key=lambda one: -_sureness(one))[:most]

    def count_sentence(self) -> str:
        """How many figures changed, in which way, and how many are noise."""
        counts = {finding: len(self._told(finding)) for finding in ("better", "worse", "changed", "noise")}
        told = sum(counts.values())
        parts = [f"{counts['better']} better", f"{counts['worse']} worse", f"{counts['changed']} that are neither"]
        return f"{told - counts['noise']} of {told} figures changed ({', '.join(parts)}); {counts['noise']} are noise."

    def _told(self, *findings: str) -> list[Difference]:
        return [one for one in self.differences if one.finding in findings]

    def of(
        self, metric: str, statistic: str, *, origin: Origin | None = None, thinking: Thinking = "all"
    ) -> Difference | None:
        """One of them; None if it was not compared."""
        wanted = (metric, statistic, origin, thinking)
        for found in self.differences:
            if (found.metric, found.statistic, found.origin, found.thinking) == wanted:
                return found
        return None


def compare(
    a: Sequence[Run], b: Sequence[Run], *, seed: int = 0, resamples: int = 1000, confidence: float = 0.95
) -> Comparison:
    """Compare the runs of two measurements, one or more a side. The same seed gives the same intervals.

    Raises:
        LoadTestError: a side has no run, or a run was not measured.
    """
    if not a or not b:
        raise LoadTestError(f"A comparison takes a run a side or more; given are {len(a)} and {len(b)}.")
    for run in (*a, *b):
        check_length(run.window)
    by_runs = min(len(a), len(b)) >= LEAST_RUNS
    rng = np.random.default_rng(seed)
    parts = 1 if by_runs else _BLOCKS
    draws = (Draws(len(a) * parts, resamples, rng), Draws(len(b) * parts, resamples, rng))
    bootstrap = _Bootstrap(rng, draws, confidence)
    differences = [
        difference
        for thinking in _groups([*a, *b])
        for difference in bootstrap.differences((_units(a, thinking, parts), _units(b, thinking, parts)), thinking)
    ]
    return Comparison(
        differences=tuple(differences),
        runs_a=len(a),
        runs_b=len(b),
        resampled="runs" if by_runs else "blocks",
        note=_NOTE_RUNS if by_runs else _NOTE_BLOCKS,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


_NOTE_RUNS = "The intervals cover what differs from run to run."
_NOTE_BLOCKS = (
    "The intervals cover chance within a run alone. "
    f"{LEAST_RUNS} runs a side or more would show what differs from run to run."
)

_Units = Sequence[Traffic]


@dataclass(frozen=True)
class _Bootstrap:
    rng: np.random.Generator
    draws: tuple[Draws, Draws]
    confidence: float

    def differences(self, units: tuple[_Units, _Units], thinking: Thinking) -> Iterator[Difference]:
        """All statistics of a group of requests."""
        for figure in RATIOS:
            sides = [Sums(*zip(*(figure.of(unit) for unit in side), strict=True)) for side in units]
            yield self._of_sums(_Subject(figure, None, thinking), "value", sides)
        for metric, origin, values_of in _distributed():
            arrays = [[values_of(unit.began) for unit in side] for side in units]
            yield from self._of_values(_Subject(metric, origin, thinking), arrays)

    def _of_values(self, subject: _Subject, arrays: Sequence[Sequence[Array]]) -> Iterator[Difference]:
        sums = [Sums([float(unit.sum()) for unit in side], [len(unit) for unit in side]) for side in arrays]
        yield self._of_sums(subject, "mean", sums)
        quantiles = [Quantiles(side, self.rng) for side in arrays]
        resampled = [side.resampled(_STATISTICS, draws) for side, draws in zip(quantiles, self.draws, strict=True)]
        for name in _STATISTICS:
            a, b = (_Side(side.value(name), found[name]) for side, found in zip(quantiles, resampled, strict=True))
            yield self._difference(subject, name, a, b)

    def _of_sums(self, subject: _Subject, statistic: str, sides: Sequence[Sums]) -> Difference:
        a, b = (_Side(side.value(), side.resampled(draws)) for side, draws in zip(sides, self.draws, strict=True))
        return self._difference(subject, statistic, a, b)

    def _difference(self, subject: _Subject, statistic: str, a: _Side, b: _Side) -> Difference:
        ratio, ends, none = None, None, 1
        units = min(draws.units for draws in self.draws)
        if a.value and b.value is not None:
            ratio = b.value / a.value
            with np.errstate(divide="ignore", invalid="ignore"):
                ends = interval(b.resampled / a.resampled, units, self.confidence)
        elif a.value == 0 and b.value:
            none, ends = 0, interval(b.resampled - a.resampled, units, self.confidence)
        low, high = ends if ends and ratio is not None else (None, None)
        return Difference(
            metric=subject.metric.name,
            statistic=statistic,
            origin=subject.origin,
            thinking=subject.thinking,
            a=a.value,
            b=b.value,
            ratio=ratio,
            low=low,
            high=high,
            finding=_finding(subject.metric, ends, none),
        )


@dataclass(frozen=True)
class _Side:
    value: float | None
    resampled: Array


@dataclass(frozen=True)
class _Subject:
    metric: Metric
    origin: Origin | None
    thinking: Thinking


def _sureness(found: Difference) -> float:
    if found.low is None or found.high is None or found.low <= 0:
        return math.inf
    return min(abs(math.log(found.low)), abs(math.log(found.high)))


def _rank(found: Difference) -> tuple[bool, bool, float]:
    part_of_a_figure = found.statistic == "value" and found.thinking != "all"
    return found.origin == "actual", part_of_a_figure, -_sureness(found)


def _distributed() -> Iterator[tuple[Metric, Origin | None, Callable[[Sequence[Sample]], Array]]]:
    for latency in LATENCIES:
        yield latency, "intended", partial(latency.values, origin="intended")
        yield latency, "actual", partial(latency.values, origin="actual")
    for metric in DISTRIBUTIONS:
        yield metric, None, metric.values


def _finding(metric: Metric, ends: tuple[float, float] | None, none: float) -> Finding:
    """What an interval says, where `none` would be no difference."""
    if ends is None:
        return "no value"
    low, high = ends
    if low <= none <= high:
        return "noise"
    if metric.better == "neither":
        return "changed"
    return "better" if (low > none) == (metric.better == "higher") else "worse"


def _groups(runs: Sequence[Run]) -> tuple[Thinking, ...]:
    """On and off apart where there are both."""
    modes = {sample.thinking for run in runs for sample in run.samples}
    return ("all", "on", "off") if len(modes) > 1 else ("all",)


def _units(runs: Sequence[Run], thinking: Thinking, parts: int) -> list[Traffic]:
    about = (Traffic((sample for sample in run.samples if is_about(thinking, sample)), run.window) for run in runs)
    return [unit for traffic in about for unit in traffic.split(parts)]
