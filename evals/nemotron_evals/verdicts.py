"""What a run says of each figure of the card: reproduced, lower, higher, undecided, or not comparable.

Everything here is in the unit that the card prints: percent, or points of 10 for MT-Bench.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Literal

import msgspec

from nemotron_evals import statistics
from nemotron_evals.card import CARD, MODES, SETTINGS, Benchmark, Metric, Mode
from nemotron_evals.results import Measured, Results, ScoredMetric

Verdict = Literal["reproduced", "lower", "higher", "undecided", "not comparable"]

ENDS = {"fraction": (0.0, 1.0), "points10": (1.0, 10.0)}
"""The least and the largest score, by scale."""

ROUNDING = 0.05
"""Half of the last digit that the card prints, in its unit: percent and points alike."""

# GPT-4 and its dated and turbo versions; not gpt-4o or gpt-4.1, which are other models.
_CARDS_JUDGE = re.compile(r"(openai/)?gpt-4(-|\s|$)", re.IGNORECASE)


class Range(msgspec.Struct, frozen=True):
    """A 95 % interval, in the card's unit; `exact` where it is a binomial bound."""

    low: float
    high: float
    exact: bool = False


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the card beside ours.

    Attributes:
        benchmark: Its name in the card's table.
        title: As the card writes it.
        metric: Which of its figures.
        thinking: The mode.
        unit: `%`, or `of 10`.
        questions: How many were asked.
        repeats: How often each.
        score: Ours.
        generalisation: Interval for questions such as these.
        same_questions: Interval for these very questions; None with one repeat, which cannot tell.
        card: The card's figure.
        margin: How far from it still counts as the same.
        difference: Ours minus the card's.
        half_width: Of the interval around the difference, the card's noise and rounding within.
        p: Of "both came from the same", for this figure alone; None where it is not compared.
        adjusted_p: The same for the whole table (Holm).
        verdict: What follows.
        reason: Why, in a sentence without a full stop; empty where the numbers say it.
        deciding_repeats: The repeats that would decide; None where it is decided, or where no number would.
        overlong: Share of answers that ran into the limit of tokens.
        mean_tokens: Output tokens of an answer.
        failed: Samples that count as wrong because there was nothing to score.
    """

    benchmark: str
    title: str
    metric: str
    thinking: Mode
    unit: str
    questions: int
    repeats: int
    score: float
    generalisation: Range
    same_questions: Range | None
    card: float
    margin: float
    difference: float
    half_width: float
    p: float | None
    adjusted_p: float | None
    verdict: Verdict
    reason: str
    deciding_repeats: int | None
    overlong: float
    mean_tokens: float
    failed: int

    @property
    def name(self) -> str:
        """The benchmark, with the metric where it has several."""
        return f"{self.title}, {self.metric}" if self.metric in ("prompt", "instruction") else self.title


def judge(results: Results) -> list[Figure]:
    """Every figure of a run with its verdict, in the card's order, thinking on before off."""
    cells = list(_cells(results))
    p_values = [cell.found.p for cell in cells if not cell.reason]
    adjusted = iter(statistics.holm(p_values))
    return [_figure(cell, None if cell.reason else next(adjusted), len(p_values)) for cell in cells]


def not_comparable(results: Results, of: Benchmark, measured: Measured) -> str:
    """Why a benchmark of a run cannot be compared with the card's figure; empty where it can."""
    return next(_differing(results, of, measured), "")


def _differing(results: Results, of: Benchmark, measured: Measured) -> Iterator[str]:
    if results.limit is not None:
        yield f"a run with --limit {results.limit} asks other questions than the card"
    if len(measured.questions) != of.questions:
        yield f"{len(measured.questions):,} questions were asked, and the card's figure is of {of.questions:,}"
    if measured.failed or measured.expected != len(measured.questions) * measured.repeats:
        yield f"{measured.failed:,} of {measured.expected:,} samples failed and count as wrong"
    if measured.data.known is False:
        yield "the data are not those whose hash is pinned"
    wanted = SETTINGS[measured.thinking]
    for name in ("temperature", "top_p", "max_tokens"):
        ours, cards = getattr(measured.settings, name), getattr(wanted, name)
        # Greedy is greedy, whatever share of the tokens it is the most likely of.
        if ours != cards and not (name == "top_p" and measured.settings.temperature == 0):
            yield f"it was asked with {name} {ours:g}, and the card's figure with {cards:g}"
    if of.judged and not _CARDS_JUDGE.match(results.judge or ""):
        yield f"the judge was {results.judge or 'not named'}, and the card's is GPT-4"


@dataclass(frozen=True)
class _Cell:
    """A figure of the card and what was measured for it; `reason`: why they are not comparable, or empty."""

    of: Benchmark
    metric: Metric
    measured: Measured
    scored: ScoredMetric
    reason: str

    @property
    def card_repeats(self) -> int:
        return self.of.card_repeats[self.measured.thinking]

    @property
    def rounding(self) -> float:
        return ROUNDING * self.metric.unit

    @cached_property
    def found(self) -> statistics.Difference:
        return statistics.difference(
            self.scored.scores,
            self.metric.card[self.measured.thinking] * self.metric.unit,
            card_repeats=self.card_repeats,
            rounding=self.rounding,
            weights=self.scored.weights,
        )


def _cells(results: Results) -> Iterator[_Cell]:
    measured = {(one.benchmark, one.thinking): one for one in results.measured}
    for of in CARD:
        for mode in MODES:
            if (one := measured.get((of.name, mode))) is None:
                continue
            reason = not_comparable(results, of, one)
            scored = {metric.name: metric for metric in one.metrics if metric.scores}
            for metric in of.metrics:
                if metric.name in scored:
                    yield _Cell(of, metric, one, scored[metric.name], reason)


def _figure(cell: _Cell, adjusted: float | None, figures: int) -> Figure:
    of, metric, measured, found = cell.of, cell.metric, cell.measured, cell.found
    scores, weights, ends, unit = cell.scored.scores, cell.scored.weights, ENDS[metric.scale], metric.unit
    verdict, reason, repeats = _decided(cell, adjusted, figures)
    same = statistics.same_questions(scores, weights, ends=ends)
    samples = max(1, len(measured.questions) * measured.repeats)
    return Figure(
        benchmark=of.name,
        title=of.title,
        metric=metric.name,
        thinking=measured.thinking,
        unit="%" if metric.scale == "fraction" else "of 10",
        questions=len(measured.questions),
        repeats=measured.repeats,
        score=statistics.score(scores, weights) / unit,
        generalisation=_range(statistics.generalisation(scores, weights, ends=ends), unit),
        same_questions=None if same is None else _range(same, unit),
        card=metric.card[measured.thinking],
        margin=metric.margin,
        difference=found.difference / unit,
        half_width=found.half_width / unit,
        p=None if adjusted is None else found.p,
        adjusted_p=adjusted,
        verdict=verdict,
        reason=reason,
        deciding_repeats=repeats,
        overlong=sum(map(sum, measured.overlong)) / samples,
        mean_tokens=sum(map(sum, measured.output_tokens)) / samples,
        failed=measured.failed,
    )


def _decided(cell: _Cell, adjusted: float | None, figures: int) -> tuple[Verdict, str, int | None]:
    """The verdict, why, and the repeats that would decide."""
    found, margin = cell.found, cell.metric.margin * cell.metric.unit
    if adjusted is None:
        return "not comparable", cell.reason, None
    if adjusted < statistics.ALPHA:
        return ("lower" if found.difference < 0 else "higher"), "", None
    if abs(found.difference) <= found.half_width <= margin:
        return "reproduced", "", None
    what = (
        f"it differs by itself, and among {figures} figures one in twenty does so by chance"
        if found.p < statistics.ALPHA
        else f"±{found.half_width / cell.metric.unit:.1f} is wider than the margin of {cell.metric.margin:g}"
    )
    if (enough := _enough(cell, adjusted, figures)) and found.measured:
        return "undecided", f"{what}; {enough} repeats would decide", enough
    if not found.measured:
        return "undecided", f"{what}, but one repeat measures no noise; 2 repeats would, and it may be less", None
    alone = statistics.Z * math.sqrt(found.noise / len(cell.measured.questions) / cell.card_repeats) + cell.rounding
    return (
        "undecided",
        f"{what}; no number of repeats would decide: the card's own {cell.card_repeats} "
        f"{'run leaves' if cell.card_repeats == 1 else 'runs leave'} ±{alone / cell.metric.unit:.1f}",
        None,
    )


def _enough(cell: _Cell, adjusted: float, figures: int) -> int | None:
    """The repeats that would decide, should the difference and the noise stay as they are."""
    found, margin, rounding = cell.found, cell.metric.margin * cell.metric.unit, cell.rounding
    questions, ways = len(cell.measured.questions), []
    if found.half_width > margin:
        ways.append(deciding(found.noise, questions, cell.card_repeats, margin - rounding, statistics.Z))
    if found.p < statistics.ALPHA:
        times = min(float(figures), adjusted / found.p) if found.p > 0 else 1.0  # as Holm counts it now
        errors = NormalDist().inv_cdf(1 - statistics.ALPHA / times / 2)
        ways.append(deciding(found.noise, questions, cell.card_repeats, abs(found.difference) - rounding, errors))
    known = [way for way in ways if way is not None and way > cell.measured.repeats]
    return min(known, default=None)


def deciding(noise: float, questions: int, card_repeats: int, distance: float, errors: float) -> int | None:
    """`statistics.deciding_repeats`, at least 2: one repeat measures no noise."""
    found = statistics.deciding_repeats(noise, questions, card_repeats, distance, errors)
    return None if found is None else max(2, found)


def _range(interval: statistics.Interval, unit: float) -> Range:
    return Range(interval.low / unit, interval.high / unit, interval.exact)
