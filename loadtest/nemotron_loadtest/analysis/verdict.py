"""Whether a run met its SLO, clause by clause: `judge(summary, slo)`.

A clause without a measured value fails, and says why there is none: an objective that could not be checked is not met.
"""

from __future__ import annotations

import msgspec

from nemotron_loadtest.analysis.percentiles import samples_for_trust, samples_needed
from nemotron_loadtest.analysis.slo import Clause, Slo
from nemotron_loadtest.analysis.summary import Summary
from nemotron_loadtest.metrics import METRICS, Latency, Outcomes


class ClauseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a clause.

    Attributes:
        text: What was asked, for people.
        title: What was measured, as the heading of a chart or a column.
        unit: Unit of the measured value and the limit.
        limit: What was asked.
        measured: None without a value.
        passed: Whether it holds.
        note: Why there is no value, or what to know of it; may be empty.
    """

    text: str
    unit: str
    limit: float
    measured: float | None
    passed: bool
    note: str = ""
    title: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self._shown()}{f' ({self.note})' if self.note else ''}"

    def _shown(self) -> str:
        if self.measured is None:
            return "no value"
        return f"{self.measured:.2%}" if self.unit == "share" else f"{self.measured:,.4g} {self.unit}"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the SLO was met.

    Attributes:
        slo: Name.
        passed: Whether every clause holds.
        clauses: All of them, in the order of the SLO.
    """

    slo: str
    passed: bool
    clauses: tuple[ClauseResult, ...]

    @property
    def failures(self) -> list[str]:
        """A sentence for each clause that does not hold."""
        return [str(clause) for clause in self.clauses if not clause.passed]


def judge(summary: Summary, slo: Slo) -> Verdict:
    """Judge a summary by an SLO. A goodput is judged only if the summary was made with the same SLO."""
    clauses = [_clause(summary, clause) for clause in slo.clauses]
    clauses.append(_errors(summary.all.outcomes, slo.max_error_rate))
    if slo.min_goodput is not None:
        clauses.append(_goodput(summary, slo, slo.min_goodput))
    if slo.max_schedule_delay_ms is not None:
        clauses.append(_schedule_delay(summary, slo.max_schedule_delay_ms))
    return Verdict(slo=slo.name, passed=all(clause.passed for clause in clauses), clauses=tuple(clauses))


def _clause(summary: Summary, clause: Clause) -> ClauseResult:
    metric = METRICS[clause.metric]
    about = "" if clause.thinking == "all" else f", thinking {clause.thinking}"
    start = f" from the {clause.origin} start" if isinstance(metric, Latency) else ""
    distribution = summary.groups[clause.thinking].distribution(clause.metric, clause.origin)
    measured = distribution.at(clause.statistic)
    needed, trusted = samples_needed(clause.statistic), samples_for_trust(clause.statistic)
    note = ""
    if measured is None:
        note = f"a p{clause.percentile:g} needs {needed:,} values, there are {distribution.count:,}"
    elif distribution.count < trusted:
        note = f"of {distribution.count:,} values; {trusted:,} would make it sure"
    return ClauseResult(
        text=f"{metric.title} p{clause.percentile:g}{start}{about} ≤ {clause.limit:g} {metric.unit}",
        title=f"{metric.title} p{clause.percentile:g}{start if clause.origin == 'actual' else ''}{about}",
        unit=metric.unit,
        limit=clause.limit,
        measured=measured,
        passed=measured is not None and measured <= clause.limit,
        note=note,
    )


def _errors(outcomes: Outcomes, limit: float) -> ClauseResult:
    requests = outcomes.requests - outcomes.cancelled
    measured = (outcomes.errors + outcomes.incomplete) / requests if requests else None
    kinds = [f"{count} {kind}" for kind, count in outcomes.errors_by_type.items()]
    if outcomes.incomplete:
        kinds.append(f"{outcomes.incomplete} unfinished")
    return ClauseResult(
        text=f"Failed or unfinished ≤ {limit:.2%}",
        title="Failed or unfinished",
        unit="share",
        limit=limit,
        measured=measured,
        passed=measured is not None and measured <= limit,
        note="no request began in the window" if measured is None else ", ".join(kinds),
    )


def _goodput(summary: Summary, slo: Slo, limit: float) -> ClauseResult:
    found = summary.all.goodput if summary.slo == slo.name else None
    measured = found.share if found else None
    return ClauseResult(
        text=f"Goodput ≥ {limit:.2%}",
        title="Goodput",
        unit="share",
        limit=limit,
        measured=measured,
        passed=measured is not None and measured >= limit,
        note="" if found else f"the summary was made {f'under {summary.slo}' if summary.slo else 'without an SLO'}",
    )


def _schedule_delay(summary: Summary, limit_ms: float) -> ClauseResult:
    result = _clause(summary, Clause(metric="schedule_delay_ms", percentile=99, limit=limit_ms))
    if result.measured is None or result.passed:
        return result
    return msgspec.structs.replace(result, note="the load generator was too slow to judge the server")
