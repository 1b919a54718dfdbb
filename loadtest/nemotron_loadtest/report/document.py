"""A run's report as a document: report.json, and what the HTML page is drawn from.

`schema_version` goes up whenever a field changes its meaning or goes; docs/loadtest/reports.md says what it holds.
It never holds a prompt or an answer: samples have none, and records have lengths in the place of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from nemotron_loadtest.analysis import Slo, Summary, Verdict, judge, summarise
from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.metrics.traffic import Traffic
from nemotron_loadtest.report.plot_data import Spread, spreads
from nemotron_loadtest.report.server_points import ServerPoint, server_points
from nemotron_loadtest.report.sweep import Sweep
from nemotron_loadtest.run.record import schema_version
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.server import ServerSample

REPORT_SCHEMA_VERSION = 1
State = Literal["FAIL", "CUT OFF", "OVERLOADED", "NOT STEADY", "PASS", "MEASURED"]
_LATE_MS, _LATE_SHARE = 20.0, 0.1  # A schedule delay beyond both, the share of the TTFT, is told.


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run beside its samples.

    Attributes:
        title: Name of the scenario.
        started_at: Wall time of the start, ISO 8601 with its zone.
        description: A line for people; may be empty.
        cut_off: Why the run ended before its time, as a sentence; empty if it did not.
        not_sent: Arrivals that were due and not sent, for too many were in flight.
        busy: Whether a process that sent used its core up, so that its times are in doubt.
        scenario: As JSON's types, without texts.
        environment: Versions and machines, name → value.
    """

    title: str
    started_at: str
    description: str = ""
    cut_off: str = ""
    not_sent: int = 0
    busy: bool = False
    scenario: dict[str, Any] = {}
    environment: dict[str, str] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report shows.

    Attributes:
        states: What it comes to, the most serious first.
        facts: What is known beside the samples.
        notes: What to know before reading the figures; sentences.
        summary: The figures.
        slo: What was asked; None if nothing was.
        verdict: What became of it.
        spreads: For histograms and tail curves.
        server: What was scraped.
        scrape_failures: How often a server's metrics could not be read.
        sweep: The search that this run is part of; None for a run alone.
        capacity: How many replicas a traffic needs; None if it was not asked.
        schema_version: Of this structure.
    """

    states: tuple[State, ...]
    facts: Facts
    notes: tuple[str, ...]
    summary: Summary
    slo: Slo | None
    verdict: Verdict | None
    spreads: tuple[Spread, ...]
    server: tuple[ServerPoint, ...]
    scrape_failures: int
    sweep: Sweep | None = None
    capacity: CapacityPlan | None = None
    schema_version: int = REPORT_SCHEMA_VERSION


def make_report(
    samples: Sequence[Sample],
    window: Window,
    facts: Facts,
    *,
    slo: Slo | None = None,
    server: Sequence[ServerSample] = (),
    sweep: Sweep | None = None,
    capacity: CapacityPlan | None = None,
) -> Report:
    """Work out a run's report, also of one that was cut off or had no answer.

    Args:
        samples: All requests, in any order.
        window: What was to be measured: from the end of the warm-up to the end of the arrivals.
        facts: What is known beside the samples.
        slo: To judge by.
        server: All that was scraped.
        sweep: The search that found the run's rate.
        capacity: Worked out from the sweep.
    """
    measured, notes = _measured(samples, window, facts)
    summary = summarise(samples, measured, slo)
    verdict = judge(summary, slo) if slo else None
    return Report(
        states=_states(summary, verdict, facts),
        facts=facts,
        notes=(*notes, *_late(summary), *_unseen(server)),
        summary=summary,
        slo=slo,
        verdict=verdict,
        spreads=spreads(Traffic(samples, measured).began),
        server=server_points(server),
        scrape_failures=sum(not sample.scraped for sample in server),
        sweep=sweep,
        capacity=capacity,
    )


def encode_report(report: Report) -> bytes:
    """As JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def decode_report(content: bytes) -> Report:
    """Read a report.

    Raises:
        LoadTestError: it is none, or of another version.
    """
    try:
        version = schema_version(content)
        if version == REPORT_SCHEMA_VERSION:
            return msgspec.json.decode(content, type=Report)
    except msgspec.DecodeError as error:
        raise LoadTestError(f"This is no report of a load test: {error}.") from error
    raise LoadTestError(
        f"The report has schema version {version}, this nemotron-bench reads {REPORT_SCHEMA_VERSION}. "
        "Make it again from samples.jsonl."
    )


def _measured(samples: Sequence[Sample], window: Window, facts: Facts) -> tuple[Window, list[str]]:
    """The window that there is something to say of, and what to know of it."""
    notes = [facts.cut_off] if facts.cut_off else []
    if facts.not_sent:
        notes.append(f"{facts.not_sent:,} arrivals were due and not sent: too many requests were in flight.")
    if facts.busy:
        notes.append("The load generator used a core up: its times are in doubt. Run it with more processes.")
    if not samples:
        notes.append("No request was sent.")
    if window.length_s > 0:
        return window, notes
    end_s = max([window.end_s, *(sample.ended_s for sample in samples)], default=0.0)
    notes.append("The run ended within its warm-up: the figures are those of the warm-up.")
    return Window(0.0, max(end_s, 1.0)), notes


def _late(summary: Summary) -> list[str]:
    """Whether the load generator's own lag is worth a word."""
    delay, ttft = summary.all.distribution("schedule_delay_ms"), summary.all.distribution("ttft_ms", "actual")
    worst = delay.max if delay.p99 is None else delay.p99
    if worst is None or worst <= max(_LATE_MS, _LATE_SHARE * (ttft.p50 or 0.0)):
        return []
    which = "at most" if delay.p99 is None else "p99"
    return [
        f"The load generator sent requests late ({which} {worst:,.0f} ms). Latencies from the intended start hold that "
        "wait, which is not the server's."
    ]


def _unseen(server: Sequence[ServerSample]) -> list[str]:
    """Whether the report lacks what servers say of themselves."""
    without = sorted({one.server for one in server} - {one.server for one in server if one.scraped})
    return [
        f"The metrics of {url} were never found, so its running and waiting requests and its KV cache are not shown: "
        "--metrics-url names the page."
        for url in without
    ]


def _states(summary: Summary, verdict: Verdict | None, facts: Facts) -> tuple[State, ...]:
    found: list[State] = []
    if verdict and not verdict.passed:
        found.append("FAIL")
    if facts.cut_off:
        found.append("CUT OFF")
    if summary.saturation.saturated:
        found.append("OVERLOADED")
    if not summary.steadiness.steady:
        found.append("NOT STEADY")
    if verdict and verdict.passed:
        found.append("PASS")
    return tuple(found) or ("MEASURED",)
