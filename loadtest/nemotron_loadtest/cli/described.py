"""What a run came to, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nemotron_loadtest.numbers import number

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Group, Verdict
    from nemotron_loadtest.metrics import Thinking
    from nemotron_loadtest.report import Report

_TIMES = ("ttft_ms", "first_answer_ms", "thinking_time_ms", "tpot_ms", "itl_ms", "e2e_ms", "schedule_delay_ms")


def described(report: Report) -> str:
    """Figures of all requests and of those with thinking on and off, what to know of them, and the verdict."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    groups = report.summary.groups
    modes: list[Thinking] = [name for name, group in groups.items() if name != "all" and group.outcomes.requests]
    shown: list[Thinking] = modes if len(modes) == 1 else ["all", *modes]
    for name in shown:
        yield from _group_lines(f"thinking {name}", groups[name])
    yield ", ".join(report.states)
    if report.summary.saturation.saturated:
        yield f"  overloaded: {report.summary.saturation.reason}"
    if not report.summary.steadiness.steady:
        yield f"  not steady: {report.summary.steadiness.reason}"
    yield from (f"  {note}" for note in report.notes)
    if report.verdict:
        yield from _verdict_lines(report.verdict)


def _group_lines(title: str, group: Group) -> Iterator[str]:
    outcomes, figures = group.outcomes, group.figures
    counts = [
        f"{outcomes.requests:,} requests",
        *(f"{count:,} {kind}" for kind, count in outcomes.errors_by_type.items()),
        *([f"{outcomes.cancelled:,} cancelled"] if outcomes.cancelled else []),
        *([f"{outcomes.incomplete:,} unfinished"] if outcomes.incomplete else []),
        f"{number(figures['requests_per_s'])} answered/s",
        f"{number(figures['output_tokens_per_s'])} output tokens/s",
    ]
    yield f"{title}: {', '.join(counts)}"
    yield f"  {'':17} {'p50':>9} {'p90':>9} {'p99':>9}"
    for name in _TIMES:
        found = group.distribution(name)
        if found.count:
            yield f"  {name:17} {number(found.p50):>9} {number(found.p90):>9} {number(found.p99):>9}"


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    yield f"SLO {verdict.slo}: {'met' if verdict.passed else 'NOT MET'}"
    yield from (f"  {'ok  ' if clause.passed else 'FAIL'} {clause}" for clause in verdict.clauses)
