"""Whether engine B may replace engine A, from a run of each: the same questions, repeats, settings and data.

Every question is compared with itself. B passes where the lower one-sided 95 % bound of B - A, as the mean over the
benchmarks, is above -1 point and no benchmark is significantly below its own margin (Holm over all). It fails where a
benchmark is, or where the upper bound of the mean is below -1 point. Else the gate is undecided: more repeats may tell.
A point is a percent point, or a tenth of one of MT-Bench's points.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from nemotron_evals import results, statistics
from nemotron_evals.card import CARD, Benchmark, Mode
from nemotron_evals.errors import EvalError
from nemotron_evals.results import Measured, Results
from nemotron_evals.tables import text_table

MARGIN = 1.0
"""How many points the mean over the benchmarks may lose."""

Outcome = Literal["pass", "fail", "undecided"]

EXIT_STATUS: dict[Outcome, int] = {"pass": 0, "fail": 1, "undecided": 2}

_POINTS = {"fraction": 100.0, "points10": 10.0}  # of a score of 1
_WORST_SCORE = {"fraction": 0.0, "points10": 1.0}


class Change(msgspec.Struct, frozen=True):
    """Something beside the score: what A and B have, and the two-sided 95 % interval of B - A, paired by question."""

    a: float
    b: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


class Discordant(msgspec.Struct, frozen=True):
    """One repeat of 0/1 scores: the questions that only one has right, and McNemar's exact two-sided p value."""

    lost: int
    gained: int
    p: float


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark in one mode.

    Attributes:
        benchmark: Its name in the card's table.
        title: As the card writes it.
        thinking: The mode.
        questions: How many.
        repeats: How often each was asked.
        difference: B - A in points, the mean of its figures where it has several.
        low: Lower one-sided 95 % bound.
        high: Upper one-sided 95 % bound.
        margin: Points that it may lose.
        p: Of "it lost no more than the margin", one-sided; None where it is left out.
        adjusted_p: The same over all benchmarks and modes (Holm).
        discordant: For one repeat of 0/1 scores, where the p value is exact; else None.
        left_out: Why it says nothing, as a sentence's part; empty where it counts.
        overlong: Share of answers that ran into the limit of tokens.
        tokens: Output tokens of an answer.
    """

    benchmark: str
    title: str
    thinking: Mode
    questions: int
    repeats: int
    difference: float
    low: float
    high: float
    margin: float
    p: float | None
    adjusted_p: float | None
    discordant: Discordant | None
    left_out: str
    overlong: Change
    tokens: Change

    @property
    def below(self) -> bool:
        """Whether it is significantly below its margin."""
        return self.adjusted_p is not None and self.adjusted_p < statistics.ALPHA


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it; differences in points.

    Attributes:
        outcome: What the exit status says.
        reason: Why, in sentences.
        difference: B - A, mean over the benchmarks, each the mean over its modes.
        low: Lower one-sided 95 % bound.
        high: Upper one-sided 95 % bound.
        margin: Points that the mean may lose.
        compared: Each benchmark in each mode.
        notes: What to know beside it.
    """

    outcome: Outcome
    reason: str
    difference: float
    low: float
    high: float
    margin: float
    compared: list[Compared]
    notes: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `nemotron-eval gate`."""
    parser.add_argument(
        "a", metavar="A", type=Path, help="directory of a run of the engine that is there, such as BF16"
    )
    parser.add_argument("b", metavar="B", type=Path, help="directory of a run of the one to replace it, such as FP8")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "exit status: 0 pass, 1 fail, 2 undecided, or runs that are no pair"


def main(options: argparse.Namespace) -> int:
    """Print the gate.

    Returns:
        0 pass, 1 fail, 2 undecided.

    Raises:
        EvalError: The runs are no pair, or have no results.
    """
    if options.a.resolve() == options.b.resolve():
        raise EvalError(f"{options.a} was given twice: expected a run of each engine")
    found = compare(results.read(options.a), results.read(options.b))
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    else:
        sys.stdout.write(as_text(found))
    return EXIT_STATUS[found.outcome]


def compare(a: Results, b: Results) -> Gate:
    """Judge B against A.

    Raises:
        EvalError: They are no pair; the message names every way in which they are not.
    """
    pairs = _pairs(a, b)
    p_values = [None if pair.says_nothing else pair.p for pair in pairs]
    adjusted = iter(statistics.holm([p for p in p_values if p is not None]))
    compared = [
        _compared(pair, p, None if p is None else next(adjusted)) for pair, p in zip(pairs, p_values, strict=True)
    ]
    by_benchmark: dict[str, list[_Pair]] = {}
    for pair in pairs:
        if not pair.says_nothing:
            by_benchmark.setdefault(pair.of.name, []).append(pair)
    overall = statistics.mean_of([_over_modes(modes) for modes in by_benchmark.values()]) if by_benchmark else None
    outcome, reason = _outcome(overall, compared)
    return Gate(
        outcome=outcome,
        reason=reason,
        difference=overall.mean if overall else 0.0,
        low=overall.low if overall else -100.0,
        high=overall.high if overall else 100.0,
        margin=MARGIN,
        compared=compared,
        notes=list(_notes(a, b, compared)),
    )


def as_text(found: Gate) -> str:
    """For a terminal, at most 100 columns."""
    rows: list[tuple[str, ...]] = [
        (
            one.title,
            one.thinking,
            f"{one.difference:+.1f}",
            f"[{one.low:+.1f}, {one.high:+.1f}]",
            f"{-one.margin:g}",
            "-" if one.adjusted_p is None else f"{one.adjusted_p:.2g}",
            f"{100 * one.overlong.a:.1f} → {100 * one.overlong.b:.1f}",
            f"{one.tokens.a:,.0f} → {one.tokens.b:,.0f}",
            "left out" if one.left_out else "BELOW" if one.below else "",
        )
        for one in found.compared
    ]
    rows.append(
        ("mean", "", f"{found.difference:+.1f}", f"[{found.low:+.1f}, {found.high:+.1f}]", f"{-found.margin:g}")
        + ("",) * 4
    )
    headings = ("benchmark", "thinking", "B - A", "one-sided", "margin", "p (Holm)", "overlong %", "tokens", "")
    lines = [text_table(headings, rows), "", f"{found.outcome.upper()}: {found.reason}", *found.notes]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Pair:
    """A benchmark in one mode, of both runs."""

    of: Benchmark
    a: Measured
    b: Measured

    @cached_property
    def differences(self) -> statistics.Array:
        """B - A by question in points, the mean of the benchmark's figures where it has several; shape (Q,)."""
        tables = [
            _POINTS[metric.scale] * statistics.paired_differences(one.scores, other.scores, one.weights)
            for metric in self.of.metrics
            for one, other in zip(self.a.metrics, self.b.metrics, strict=True)
            if one.name == metric.name
        ]
        return np.asarray(np.mean(tables, axis=0), np.float64)

    @property
    def margin(self) -> float:
        """Points that it may lose."""
        metrics = self.of.metrics
        return sum(metric.margin * metric.unit * _POINTS[metric.scale] for metric in metrics) / len(metrics)

    @cached_property
    def says_nothing(self) -> str:
        """Where no answer of either is worth anything, nothing can be lost."""
        worst = {metric.name: _WORST_SCORE[metric.scale] for metric in self.of.metrics}
        nothing = all(
            value == worst.get(metric.name)
            for side in (self.a, self.b)
            for metric in side.metrics
            for row in metric.scores
            for value in row
        )
        return "no answer of either is right, so nothing could be lost" if nothing else ""

    @cached_property
    def discordant(self) -> Discordant | None:
        """For one repeat of 0/1 scores."""
        if self.a.repeats != 1 or len(self.a.metrics) != 1:
            return None
        one, other = (np.asarray(side.metrics[0].scores, np.float64)[:, 0] for side in (self.a, self.b))
        if not set(one) | set(other) <= {0.0, 1.0}:
            return None
        lost, gained = int(np.sum(one > other)), int(np.sum(one < other))
        return Discordant(lost, gained, statistics.mcnemar(lost, gained))

    @property
    def p(self) -> float:
        """Of "it lost no more than its margin", one-sided."""
        if self.discordant is None:
            return statistics.below(_paired(self.differences), self.margin)
        lost, gained = self.discordant.lost, self.discordant.gained
        return statistics.mcnemar_below(lost, gained, len(self.differences), self.margin / 100)


def _pairs(a: Results, b: Results) -> list[_Pair]:
    """What both runs have, in the card's order; refuses what is no pair."""
    sides = [{(one.benchmark, one.thinking): one for one in side.measured} for side in (a, b)]
    faults = []
    if a.limit != b.limit:
        faults.append(f"limit: A {a.limit or 'none'}, B {b.limit or 'none'}")
    if a.judge != b.judge:
        faults.append(f"judge: A {a.judge or 'none'}, B {b.judge or 'none'}")
    pairs = []
    for of in CARD:
        for mode in ("on", "off"):
            one, other = (side.get((of.name, mode)) for side in sides)
            if one is None and other is None:
                continue
            if one is None or other is None:
                faults.append(f"{of.name} with thinking {mode}: only {'A' if other is None else 'B'} has it")
                continue
            faults += [f"{of.name} with thinking {mode}: {fault}" for fault in _faults(one, other)]
            pairs.append(_Pair(of, one, other))
    if not pairs and not faults:
        faults.append("neither has a benchmark of the card")
    if faults:
        raise EvalError(f"these runs are no pair, so nothing was compared. {'; '.join(faults)}. Run both the same way.")
    return pairs


def _faults(a: Measured, b: Measured) -> Iterator[str]:
    if a.questions != b.questions:
        common = len(set(a.questions) & set(b.questions))
        yield f"other questions ({len(a.questions):,} and {len(b.questions):,}, {common:,} in common)"
    if a.repeats != b.repeats:
        yield f"repeats {a.repeats} and {b.repeats}"
    for name in ("temperature", "top_p", "max_tokens"):
        if getattr(a.settings, name) != getattr(b.settings, name):
            yield f"{name} {getattr(a.settings, name):g} and {getattr(b.settings, name):g}"
    if a.data.sha256 != b.data.sha256:
        yield f"data {a.data.source} ({a.data.sha256[:12]}…) and {b.data.source} ({b.data.sha256[:12]}…)"
    if [metric.name for metric in a.metrics] != [metric.name for metric in b.metrics]:
        yield "other figures"
    elif [metric.weights for metric in a.metrics] != [metric.weights for metric in b.metrics]:
        yield "other weights of the questions"
    for side, one in (("A", a), ("B", b)):
        if one.failed:
            yield f"{one.failed:,} of {one.expected:,} samples of {side} failed"


def _paired(z: statistics.Array) -> statistics.Paired:
    """In points: where no question differs, the bound is a share of 100 points."""
    found = statistics.paired(z / 100)
    return statistics.Paired(100 * found.mean, 100 * found.error)


def _over_modes(modes: Sequence[_Pair]) -> statistics.Paired:
    """A benchmark over its modes: question by question where they ask the same, for then they are not independent."""
    if all(pair.a.questions == modes[0].a.questions for pair in modes):
        return _paired(np.asarray(np.mean([pair.differences for pair in modes], axis=0), np.float64))
    return statistics.mean_of([_paired(pair.differences) for pair in modes])


def _compared(pair: _Pair, p: float | None, adjusted: float | None) -> Compared:
    of, a, b, z = pair.of, pair.a, pair.b, pair.differences
    found = _paired(z)
    return Compared(
        benchmark=of.name,
        title=of.title,
        thinking=a.thinking,
        questions=len(z),
        repeats=a.repeats,
        difference=found.mean,
        low=found.low,
        high=found.high,
        margin=pair.margin,
        p=p,
        adjusted_p=adjusted,
        discordant=pair.discordant,
        left_out=pair.says_nothing,
        overlong=_change(a.overlong, b.overlong),
        tokens=_change(a.output_tokens, b.output_tokens),
    )


def _change(a: statistics.Scores, b: statistics.Scores) -> Change:
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    z = statistics.paired_differences(one, other)
    half = 0.0 if float(np.ptp(z)) == 0 else statistics.Z * statistics.paired(z).error
    mean = float(np.mean(z))
    return Change(statistics.score(one), statistics.score(other), mean - half, mean + half)


def _outcome(overall: statistics.Paired | None, compared: Sequence[Compared]) -> tuple[Outcome, str]:
    if overall is None:
        return "undecided", "no answer of either run is right in any benchmark, so nothing could be lost."
    below = [f"{one.title} with thinking {one.thinking}" for one in compared if one.below]
    if below:
        return "fail", f"significantly below its margin: {', '.join(below)}."
    if overall.high < -MARGIN:
        return "fail", f"B loses more than {MARGIN:g} point: at least {-overall.high:.1f} on average, at 95 %."
    if overall.low > -MARGIN:
        return "pass", f"B loses less than {MARGIN:g} point on average, at 95 %, and no benchmark is below its margin."
    return (
        "undecided",
        f"the mean loss may be below or above {MARGIN:g} point: the bounds are {overall.low:+.1f} and "
        f"{overall.high:+.1f}. More repeats of both runs narrow them.",
    )


def _notes(a: Results, b: Results, compared: Sequence[Compared]) -> Iterator[str]:
    if a.limit is not None:
        yield f"Both runs have --limit {a.limit}: this holds for those questions alone."
    if a.package and a.package == b.package:
        yield f"Both runs name the same package, {a.package}: is B what was meant?"
    for one in compared:
        where = f"{one.title} with thinking {one.thinking}"
        if one.left_out:
            yield f"{where} is left out of the mean: {one.left_out}."
        if one.discordant:
            yield (
                f"{where}: {one.discordant.lost} questions lost and {one.discordant.gained} gained; McNemar's exact "
                f"two-sided p is {one.discordant.p:.2g}."
            )
        if one.overlong.differs:
            yield (
                f"{where}: overlong answers changed from {100 * one.overlong.a:.1f} to {100 * one.overlong.b:.1f} % "
                f"(by {100 * one.overlong.low:+.1f} to {100 * one.overlong.high:+.1f})."
            )
        if one.tokens.differs:
            yield (
                f"{where}: answers changed from {one.tokens.a:,.0f} to {one.tokens.b:,.0f} tokens "
                f"(by {one.tokens.low:+,.0f} to {one.tokens.high:+,.0f})."
            )
