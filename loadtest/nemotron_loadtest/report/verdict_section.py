"""The verdict on top of the page, with its clauses."""

from __future__ import annotations

from html import escape

from nemotron_loadtest.analysis import ClauseResult, Verdict
from nemotron_loadtest.numbers import in_unit
from nemotron_loadtest.report.document import Report, State

_TONES: dict[State, str] = {
    "FAIL": "fail",
    "CUT OFF": "fail",
    "OVERLOADED": "fail",
    "NOT STEADY": "warn",
    "PASS": "good",
    "MEASURED": "plain",
}


def verdict_section(report: Report) -> str:
    """The most serious state large, the others beside it, what they mean, and the clauses."""
    first, *others = report.states
    chips = "".join(f'<span class="chip {_TONES[state]}">{escape(_chip(state))}</span>' for state in others)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    meanings = "".join(f"<p>{escape(_meaning(state, report))}</p>" for state in report.states)
    return (
        f'<section class="verdict {_TONES[first]}" aria-label="Verdict"><div><span class="word">{escape(first)}</span>'
        f"{chips}</div>{meanings}{f'<ul>{notes}</ul>' if notes else ''}"
        f"{_clauses(report.verdict) if report.verdict else ''}</section>"
    )


def _chip(state: State) -> str:
    return "SLO met" if state == "PASS" else state


def _meaning(state: State, report: Report) -> str:
    summary, verdict = report.summary, report.verdict
    if state == "FAIL" and verdict:
        missed = sum(not clause.passed for clause in verdict.clauses)
        do = "does" if missed == 1 else "do"
        return f"{missed} of {len(verdict.clauses)} clauses of the SLO “{verdict.slo}” {do} not hold."
    if state == "PASS" and verdict:
        return f"Every clause of the SLO “{verdict.slo}” holds."
    if state == "CUT OFF":
        return "The run ended before its time; the figures are those of what was measured until then."
    if state == "OVERLOADED":
        return (
            f"The server was asked for more than it can do: {summary.saturation.reason}. "
            "Figures of such a run depend on how long it was."
        )
    if state == "NOT STEADY":
        return f"Not steady: {summary.steadiness.reason}."
    return "No SLO was given to judge by."


def _clauses(verdict: Verdict) -> str:
    rows = "".join(_clause(clause) for clause in verdict.clauses)
    return (
        '<div class="wide"><table><thead><tr><th scope="col">Clause</th><th scope="col">Measured</th>'
        f'<th scope="col">Holds</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _clause(clause: ClauseResult) -> str:
    tone, word = ("good", "✓ yes") if clause.passed else ("fail", "✗ no")
    note = f'<br><span class="note">{escape(clause.note)}</span>' if clause.note else ""
    return (
        f'<tr><th scope="row">{escape(clause.text)}{note}</th><td>{escape(in_unit(clause.measured, clause.unit))}</td>'
        f'<td><span class="mark {tone}">{word}</span></td></tr>'
    )
