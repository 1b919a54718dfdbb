"""Intervals, differences and tests, with numpy alone.

Notation: Q questions, k repeats, y[q, r] a score, m[q] a question's mean over its repeats, s²[q] its variance over them
    (with k - 1). u[q] is a question's weight over the mean weight: 1 everywhere, but for IFEval's instructions, where a
    prompt weighs as many as it has. Then every score here is mean(u·m), which for instructions is the ratio of all
    followed to all asked (the ratio estimator with the prompt as the cluster; Cochran, Sampling Techniques, chapter 6).

Two intervals answer two questions and are never mixed:

- generalisation: how good is the model on questions such as these? Its noise is the choice of the questions,
  SE = sd(u·(m - score)) / √Q (Miller 2024, arXiv:2411.00640, with questions as clusters of their repeats).
- same questions: what would these very questions give if they were asked again? Its noise is the sampling, SE = √(V /
  (k·Q)) with V = mean(u²·s²), the noise of one repeat. The card's figure comes from the same questions, so this is what
  a comparison with it is made of.

Scores have shape (Q, k) and are fractions from 0 to 1, or points from 1 to 10. All levels are 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Scores = Sequence[Sequence[float]] | Array
"""By question, and within it by repeat; shape (Q, k)."""
Weights = Sequence[float] | Array | None
"""Of the questions; None: all the same."""

ALPHA = 0.05
"""The share of false alarms that is taken: 1 - 95 %."""

Z = NormalDist().inv_cdf(1 - ALPHA / 2)
"""Half width of a two-sided 95 % interval, in standard errors: 1.96."""

Z_ONE_SIDED = NormalDist().inv_cdf(1 - ALPHA)
"""Distance of a one-sided 95 % bound, in standard errors: 1.64."""


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, in the unit of the scores; `exact` where it is a binomial bound and not a normal one."""

    low: float
    high: float
    exact: bool = False

    @property
    def half_width(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Difference:
    """A score minus the card's figure, in the unit of the scores.

    Attributes:
        difference: The score minus the card's figure.
        half_width: Of the two-sided 95 % interval around it, the card's own noise and rounding within.
        p: Two-sided p value of "both came from the same".
        noise: V, the variance that one repeat of one question adds.
        measured: Whether V was measured; with one repeat it is the variance over the questions, which is no less.
    """

    difference: float
    half_width: float
    p: float
    noise: float
    measured: bool


@dataclass(frozen=True)
class Paired:
    """B minus A over the same questions, in the unit of the scores.

    Attributes:
        mean: The difference.
        error: Its standard error.
        low: Lower one-sided 95 % bound.
        high: Upper one-sided 95 % bound.
    """

    mean: float
    error: float

    @property
    def low(self) -> float:
        """Lower one-sided 95 % bound."""
        return self.mean - Z_ONE_SIDED * self.error

    @property
    def high(self) -> float:
        """Upper one-sided 95 % bound."""
        return self.mean + Z_ONE_SIDED * self.error


def score(scores: Scores, weights: Weights = None) -> float:
    """The score, mean(u·m)."""
    means, shares = _means(scores), _shares(scores, weights)
    return float(np.mean(shares * means))


def generalisation(scores: Scores, weights: Weights = None, *, ends: tuple[float, float] = (0, 1)) -> Interval:
    """How good the model is on questions such as these: score ± 1.96·sd(u·(m - score))/√Q, within `ends`.

    Where all questions have the same score the normal interval would have no width, so a bound stands in: had a share
    of more than `unseen_share(Q)` of such questions another score, one would have been seen among Q in 95 % of all
    cases.
    """
    means, shares = _means(scores), _shares(scores, weights)
    value = float(np.mean(shares * means))
    if float(np.ptp(means)) == 0:
        span = (ends[1] - ends[0]) * unseen_share(len(means))
        return Interval(max(ends[0], value - span), min(ends[1], value + span), exact=True)
    half = Z * float(np.std(shares * (means - value), ddof=1)) / math.sqrt(len(means))
    return Interval(max(ends[0], value - half), min(ends[1], value + half))


def same_questions(scores: Scores, weights: Weights = None, *, ends: tuple[float, float] = (0, 1)) -> Interval | None:
    """What these very questions would give again: score ± 1.96·√(V/(k·Q)), within `ends`.

    Returns: None with one repeat, which says nothing of the noise between repeats. Where all scores are the same, the
    bound of `generalisation`: k equal repeats of a greedy answer are no k samples.
    """
    table = np.asarray(scores, np.float64)
    if table.shape[1] < 2:
        return None
    if float(np.ptp(table)) == 0:
        return generalisation(scores, weights, ends=ends)
    value = score(scores, weights)
    half = Z * math.sqrt(noise(scores, weights) / table.size)
    return Interval(max(ends[0], value - half), min(ends[1], value + half))


def noise(scores: Scores, weights: Weights = None) -> float:
    """V, the variance that one repeat of one question adds to a score: mean(u²·s²), for k ≥ 2.

    At least half of `unseen_share` of all pairs of repeats: two repeats of a question of variance s² differ by one step
    in a share of 2·s² of all cases, so were V more than that, one of the Q·⌊k/2⌋ pairs would have differed in 95 % of
    all cases. This keeps answers that happened never to differ, as greedy ones, from standing for answers that never
    will.
    """
    table, shares = np.asarray(scores, np.float64), _shares(scores, weights)
    found = float(np.mean(shares**2 * np.var(table, axis=1, ddof=1)))
    return max(found, unseen_share(len(table) * (table.shape[1] // 2)) / 2)


def unseen_share(samples: int) -> float:
    """The largest share of an event that 0 of `samples` leave possible: 1 - 0.05^(1/n), the exact binomial bound.

    One-sided at 95 % (Clopper and Pearson 1934); 0 of 30 leaves 9.5 % possible.
    """
    return float(1 - ALPHA ** (1 / samples))


def difference(
    scores: Scores,
    card: float,
    *,
    card_repeats: int,
    rounding: float,
    weights: Weights = None,
) -> Difference:
    """A score against the card's figure for the same questions.

    d = score - card, half width = 1.96·√(V·(1/k + 1/k_card)/Q) + rounding: the card's figure is itself the mean of
    k_card runs with the same noise, and printed rounded. p = 2·(1 - Φ(max(0, |d| - rounding)/SE)) is of the same two
    parts.

    With one repeat V cannot be measured, and the variance over the questions takes its place: it is no less, so that
    too many differences pass as noise, but none is made up. Where all scores are the same, 0 or 1, V is taken from the
    mean p of the two figures as p·(1-p), and the half width joins the exact bound of ours and the interval of the
    card's by the squares of their lengths (MOVER; Zou and Donner 2008, Statistics in Medicine 27:1693).

    Args:
        scores: Ours, shape (Q, k).
        card: The card's figure, in the unit of the scores.
        card_repeats: How many runs it is the mean of.
        rounding: Half of the last digit that the card prints, in the unit of the scores.
        weights: Of the questions.
    """
    table = np.asarray(scores, np.float64)
    questions, repeats = table.shape
    value = score(scores, weights)
    found = value - card
    per_repeat = 1 / repeats + 1 / card_repeats
    equal = float(np.ptp(table)) == 0 and table[0, 0] in (0.0, 1.0)
    if equal:
        pooled = (value * repeats + card * card_repeats) / (repeats + card_repeats)
        variance = max(pooled * (1 - pooled), unseen_share(questions) / 2)
    elif repeats > 1:
        variance = noise(scores, weights)
    else:
        over_questions = np.var(_shares(scores, weights) * (table[:, 0] - value), ddof=min(1, questions - 1))
        variance = max(float(over_questions), unseen_share(questions) / 2)
    error = math.sqrt(variance * per_repeat / questions)
    half = Z * error
    if equal:
        ours = unseen_share(questions)
        of_card = Z * math.sqrt(card * (1 - card) / (questions * card_repeats)) if abs(found) > rounding else 0.0
        half = math.hypot(ours, of_card)
    return Difference(found, half + rounding, two_sided(max(0.0, abs(found) - rounding), error), variance, repeats > 1)


def two_sided(distance: float, error: float) -> float:
    """The p value of a distance from 0 in either direction, by the normal distribution."""
    if error == 0:
        return 1.0 if distance == 0 else 0.0
    return 2 * NormalDist().cdf(-abs(distance) / error)


def deciding_repeats(
    noise_of_one: float, questions: int, card_repeats: int, distance: float, standard_errors: float
) -> int | None:
    """The repeats of ours from which a distance is `standard_errors` of d or more.

    Solves standard_errors·√(V·(1/k + 1/k_card)/Q) ≤ distance for k.

    Returns:
        The smallest k; None where no number would do, because the card's own noise is too large already.
    """
    if distance <= 0 or noise_of_one <= 0:
        return None if distance <= 0 else 1
    inverse = questions * (distance / standard_errors) ** 2 / noise_of_one - 1 / card_repeats
    return max(1, math.ceil(1 / inverse - 1e-9)) if inverse > 0 else None


def chance(errors: float) -> float:
    """Φ, the share of a normal distribution below so many standard errors."""
    return NormalDist().cdf(errors)


def quantile(share: float) -> float:
    """The inverse of Φ: how many standard errors such a share lies below."""
    return NormalDist().inv_cdf(share)


def power(loss: float, error: float, alpha: float) -> float:
    """The share of runs in which a two-sided test at `alpha` finds a loss: Φ(loss/SE - z), in the right direction."""
    if error == 0:
        return 1.0
    return NormalDist().cdf(loss / error - NormalDist().inv_cdf(1 - alpha / 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for how many there are, in their order: reject those below 0.05.

    The i-th smallest of n is multiplied by n - i + 1, and none is less than the one before it (Holm 1979, Scandinavian
    Journal of Statistics 6:65). The share of tables with any false alarm stays below 5 %, however the figures depend on
    each other.
    """
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        reached = max(reached, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = reached
    return adjusted


def paired_differences(a: Scores, b: Scores, weights: Weights = None) -> Array:
    """What each question says of B minus A, shape (Q,): D + u·(m_b - m_a - D), whose mean is D = mean(u·(m_b - m_a)).

    Without weights that is the difference of the question's means. With weights it is the ratio estimator's influence
    of the question, so that the standard deviation is right, too.
    """
    shares, gaps = _shares(a, weights), _means(b) - _means(a)
    mean = float(np.mean(shares * gaps))
    return np.asarray(mean + shares * (gaps - mean), np.float64)


def paired(differences: Array) -> Paired:
    """The mean of paired differences with its error sd/√Q (Miller 2024, arXiv:2411.00640, section 4).

    Where no question differs, the error is that of the exact bound: 1.64 errors are `unseen_share(Q)`.
    """
    questions = len(differences)
    if questions < 2 or float(np.ptp(differences)) == 0:
        return Paired(float(np.mean(differences)), unseen_share(questions) / Z_ONE_SIDED)
    return Paired(float(np.mean(differences)), float(np.std(differences, ddof=1)) / math.sqrt(questions))


def mean_of(parts: Sequence[Paired]) -> Paired:
    """The plain mean of independent differences: SE = √(Σ SE²)/n."""
    return Paired(
        math.fsum(part.mean for part in parts) / len(parts),
        math.sqrt(math.fsum(part.error**2 for part in parts)) / len(parts),
    )


def below(part: Paired, margin: float) -> float:
    """One-sided p value of "no lower than -margin", by the normal distribution."""
    return NormalDist().cdf((part.mean + margin) / part.error)


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """P(X ≥ successes) of Binomial(trials, chance), summed exactly."""
    if successes <= 0:
        return 1.0
    if chance in (0.0, 1.0):
        return float(chance)
    log, log_not = math.log(chance), math.log1p(-chance)
    ways = math.lgamma(trials + 1)
    terms = (
        math.exp(ways - math.lgamma(n + 1) - math.lgamma(trials - n + 1) + n * log + (trials - n) * log_not)
        for n in range(successes, trials + 1)
    )
    return min(1.0, math.fsum(terms))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p value of McNemar's test (1947, Psychometrika 12:153), of one repeat of 0/1 scores.

    Of the questions on which A and B differ, as many should be lost as gained: min(1, 2·P(X ≥ max(lost, gained))) for
    X ~ Binomial(lost + gained, ½).

    Args:
        lost: Questions that A has right and B wrong.
        gained: Questions that A has wrong and B right.
    """
    return min(1.0, 2 * binomial_tail(max(lost, gained), lost + gained, 0.5))


def mcnemar_below(lost: int, gained: int, questions: int, margin: float) -> float:
    """Exact one-sided p value of "B lost no more than `margin`", given how many questions differ.

    With n = lost + gained questions that differ, a loss of the margin means that a share of (1 + margin·Q/n)/2 of them
    were
    lost: P(X ≥ lost) for X ~ Binomial(n, that share). For a margin of 0 this is McNemar's one-sided test.
    """
    differ = lost + gained
    if differ == 0 or margin * questions >= differ:
        return 1.0
    return binomial_tail(lost, differ, (1 + margin * questions / differ) / 2)


def _means(scores: Scores) -> Array:
    return np.asarray(np.mean(np.asarray(scores, np.float64), axis=1), np.float64)


def _shares(scores: Scores, weights: Weights) -> Array:
    """u: each question's weight over the mean weight."""
    if weights is None:
        return np.ones(len(scores))
    given = np.asarray(weights, np.float64)
    return np.asarray(given / np.mean(given), np.float64)
