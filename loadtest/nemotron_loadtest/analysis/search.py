"""The highest rate that a server takes and still meets its SLO: `find_capacity(run_at_rate, low, high)`.

The rate is doubled from `low` until a run fails, then the gap between the highest rate that passed and the lowest that
failed is halved until it is small. Both ends are then run again until a majority of `repeats` runs agrees; an end that
is overturned moves the search on. One more run, a tenth above the failing end, looks whether it fails there as well.

Each step is decided from the runs so far alone, so the search is a function of them and easy to follow in a report.
It knows the rates that it tried, and takes for granted that a higher rate is not easier in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from nemotron_loadtest.analysis.verdict import Verdict
from nemotron_loadtest.errors import LoadTestError

_PROBE = 1.1


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the search.

    Attributes:
        rate_per_s: Requested requests per second.
        passed: Whether the SLO was met.
        failures: The clauses that did not hold.
    """

    rate_per_s: float
    passed: bool
    failures: tuple[str, ...] = ()


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the search found.

    Attributes:
        rate_per_s: Highest rate that met the SLO; None where not even the lowest did.
        fails_at_per_s: Lowest rate above it that did not; None where none failed.
        stable: Whether the runs agree with each other and the search came to its end.
        reasons: Why it is not stable, or what else to know; sentences.
        trials: All runs, in order.
    """

    rate_per_s: float | None
    fails_at_per_s: float | None
    stable: bool
    reasons: tuple[str, ...]
    trials: tuple[Trial, ...]


class _Plan(msgspec.Struct, frozen=True):
    low: float
    high: float
    tolerance: float
    repeats: int


def find_capacity(
    run_at_rate: Callable[[float], Verdict | None],
    low: float,
    high: float,
    *,
    tolerance: float,
    repeats: int,
    max_runs: int,
) -> Capacity:
    """Search for the capacity.

    Args:
        run_at_rate: Runs the load at so many requests per second and judges it. A run has to last long enough for its
            percentiles: a p99 needs 100 requests, at the lowest rate too. None ends the search.
        low: A rate that is thought to pass.
        high: The highest rate to try.
        tolerance: Gap between passing and failing rate to stop at, as a share of the passing one.
        repeats: A majority of so many runs decides on the rates at the boundary.
        max_runs: The search stops after so many.

    Raises:
        LoadTestError: the rates, tolerance or counts make no search.
    """
    if not (0 < low <= high and tolerance > 0 and repeats >= 1 and max_runs >= 1):
        raise LoadTestError(
            f"A capacity search takes rates 0 < low <= high, a tolerance above 0, repeats and max_runs from 1; "
            f"given are low {low:g}, high {high:g}, tolerance {tolerance:g}, repeats {repeats}, max_runs {max_runs}."
        )
    plan = _Plan(low, high, tolerance, repeats)
    trials: list[Trial] = []
    while (rate := next_rate(trials, plan)) is not None and len(trials) < max_runs:
        verdict = run_at_rate(rate)
        if verdict is None:
            break
        trials.append(Trial(rate_per_s=rate, passed=verdict.passed, failures=tuple(verdict.failures)))
    return _conclude(trials, plan, finished=rate is None)


def next_rate(trials: Sequence[Trial], plan: _Plan) -> float | None:
    """Which rate to run next; None at the end of the search."""
    if not trials:
        return plan.low
    good, bad = _boundary(trials)
    if bad is None and good is not None and good < plan.high:
        return min(2 * good, plan.high)
    if good is not None and bad is not None and bad - good > plan.tolerance * good:
        return (good + bad) / 2
    for end in (good, bad):
        if end is not None and not _decided(trials, end, plan.repeats):
            return end
    return _above(trials, bad, plan) if good is not None and bad is not None else None


def _boundary(trials: Sequence[Trial]) -> tuple[float | None, float | None]:
    """The lowest rate that fails, and the highest that passes below it."""
    rates = {trial.rate_per_s for trial in trials}
    bad = min((rate for rate in rates if not _passes(trials, rate)), default=None)
    good = max((rate for rate in rates if bad is None or rate < bad), default=None)
    return good, bad


def _above(trials: Sequence[Trial], bad: float, plan: _Plan) -> float | None:
    """Where to look once whether the server fails above the boundary as well; None if it was looked there."""
    probe = bad * _PROBE
    return probe if probe <= plan.high and all(trial.rate_per_s != probe for trial in trials) else None


def _counts(trials: Sequence[Trial], rate: float) -> tuple[int, int]:
    passed = [trial.passed for trial in trials if trial.rate_per_s == rate]
    return sum(passed), len(passed) - sum(passed)


def _passes(trials: Sequence[Trial], rate: float) -> bool:
    passed, failed = _counts(trials, rate)
    return passed > failed


def _decided(trials: Sequence[Trial], rate: float, repeats: int) -> bool:
    return max(_counts(trials, rate)) > repeats // 2


def _conclude(trials: Sequence[Trial], plan: _Plan, *, finished: bool) -> Capacity:
    good, bad = _boundary(trials)
    doubts = list(_doubts(trials, plan, good, bad, finished=finished))
    remarks = []
    if good is None:
        failures = [trial.failures for trial in trials if not trial.passed]
        if failures:
            remarks.append(f"the lowest rate, {plan.low:g}/s, fails: {'; '.join(failures[-1]) or 'no reason given'}")
    elif bad is None and good == plan.high:
        remarks.append(f"the highest rate, {plan.high:g}/s, passes: the capacity is that or more")
    return Capacity(
        rate_per_s=good, fails_at_per_s=bad, stable=not doubts, reasons=(*doubts, *remarks), trials=tuple(trials)
    )


def _doubts(
    trials: Sequence[Trial], plan: _Plan, good: float | None, bad: float | None, *, finished: bool
) -> list[str]:
    doubts = []
    if not finished:
        doubts.append(f"stopped after {len(trials)} runs, before the search was at its end")
    for rate in sorted({trial.rate_per_s for trial in trials}):
        passed, failed = _counts(trials, rate)
        if passed and failed:
            doubts.append(f"runs at {rate:.4g}/s disagree: {passed} passed, {failed} failed")
        elif bad is not None and rate > bad and passed:
            doubts.append(f"{rate:.4g}/s passes although {bad:.4g}/s fails")
    if plan.repeats == 1 and good is not None:
        doubts.append("no rate was run twice")
    return doubts
