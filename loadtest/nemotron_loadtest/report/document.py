"""A run's report as a document: report.json, and what the HTML page is drawn from.

`schema_version` goes up whenever a field changes its meaning or goes; docs/loadtest/reports.md says what it holds.
It never holds a prompt or an answer: samples have none, and records have lengths in the place of texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from nemotron_loadtest.analysis import (
    Capacity,
    ClauseResult,
    Distribution,
    Slo,
    Summary,
    Verdict,
    judge,
    summarise,
)
from nemotron_loadtest.capacity import CapacityPlan, Replica
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Traffic, Window
from nemotron_loadtest.report.plot_data import ServerPoint, Spread, server_points, spreads
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


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a sweep; latencies are from the intended start.

    Attributes:
        rate_per_s: Requested requests per second.
        passed: Whether the SLO was met.
        failures: The clauses that did not hold.
        clauses: What became of each clause of the SLO.
        steady: Whether the run was steady.
        saturated: Whether the server was asked for too much; None where the run was too short to tell.
        requests_per_s: Whole answers per second.
        output_tokens_per_s: Output tokens of all requests together, per second.
        in_flight: Mean requests at once.
        thinking_share: The share of the requests with thinking on.
        output_tokens_on: Mean output tokens of a request with thinking on; None without.
        output_tokens_off: The same with thinking off.
        prompt_tokens: Mean prompt; None without answers.
        error_share: Failed requests; None without requests.
        ttft_ms: Time to first token.
        itl_ms: Inter-token latency, mean of a request.
        e2e_ms: End-to-end latency.
    """

    rate_per_s: float
    passed: bool
    failures: tuple[str, ...]
    steady: bool
    saturated: bool | None
    requests_per_s: float
    output_tokens_per_s: float
    in_flight: float
    thinking_share: float
    output_tokens_on: float | None
    output_tokens_off: float | None
    prompt_tokens: float | None
    error_share: float | None
    ttft_ms: Distribution
    itl_ms: Distribution
    e2e_ms: Distribution
    clauses: tuple[ClauseResult, ...] = ()


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """All of them.

    Attributes:
        slo: Name of the SLO that the runs were judged by.
        capacity: What the search found.
        points: Its runs, in order.
    """

    slo: str
    capacity: Capacity
    points: tuple[SweepPoint, ...]

    def replica(self) -> Replica:
        """What a server takes, for `plan_capacity`.

        Raises:
            LoadTestError: no rate met the SLO, or each that was tried.
        """
        rate = self.capacity.rate_per_s
        at_capacity = [point for point in self.points if point.rate_per_s == rate and point.passed]
        if rate is None or not at_capacity:
            raise LoadTestError(
                f"No rate of the sweep met the SLO {self.slo}, so there is no capacity to plan with. "
                "Sweep from a lower rate, or take another SLO."
            )
        if self.capacity.fails_at_per_s is None:
            raise LoadTestError(
                f"Every rate of the sweep met the SLO {self.slo}, up to {rate:g}/s, so what a replica takes is not "
                "known. Sweep with a higher --high, until a rate fails."
            )
        point = at_capacity[-1]
        above = [one for one in self.points if one.rate_per_s == self.capacity.fails_at_per_s and not one.passed]
        return Replica(
            rate_per_s=rate,
            slo=self.slo,
            thinking_share=point.thinking_share,
            output_tokens_on=point.output_tokens_on,
            output_tokens_off=point.output_tokens_off,
            prompt_tokens=point.prompt_tokens or 0.0,
            in_flight=point.in_flight,
            output_tokens_per_s=point.output_tokens_per_s,
            stable=self.capacity.stable,
            failures=above[-1].failures if above else (),
        )


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
        schema_version: The version of this structure.
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
        notes=(*notes, *_late(summary), *_not_counted(samples), *_unseen(server)),
        summary=summary,
        slo=slo,
        verdict=verdict,
        spreads=spreads(Traffic(samples, measured).began),
        server=server_points(server),
        scrape_failures=sum(not sample.scraped for sample in server),
        sweep=sweep,
        capacity=capacity,
    )


def sweep_point(rate_per_s: float, summary: Summary, verdict: Verdict) -> SweepPoint:
    """A run of a sweep from its summary and verdict."""
    both, on, off = (summary.groups[thinking] for thinking in ("all", "on", "off"))
    requests = both.outcomes.requests
    return SweepPoint(
        rate_per_s=rate_per_s,
        passed=verdict.passed,
        failures=tuple(verdict.failures),
        clauses=verdict.clauses,
        steady=summary.steadiness.steady,
        saturated=summary.saturation.saturated,
        requests_per_s=both.figures["requests_per_s"] or 0.0,
        output_tokens_per_s=both.figures["output_tokens_per_s"] or 0.0,
        in_flight=both.figures["in_flight"] or 0.0,
        thinking_share=on.outcomes.requests / requests if requests else 0.0,
        output_tokens_on=on.distribution("output_tokens").mean,
        output_tokens_off=off.distribution("output_tokens").mean,
        prompt_tokens=both.distribution("prompt_tokens").mean,
        error_share=both.figures["error_share"],
        ttft_ms=both.distribution("ttft_ms"),
        itl_ms=both.distribution("itl_ms"),
        e2e_ms=both.distribution("e2e_ms"),
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


def _not_counted(samples: Sequence[Sample]) -> Iterator[str]:
    """What is not known of tokens where a server did not count them with each response."""
    ended, never = (
        [sample for sample in samples if sample.arrivals and sample.counted == when] for when in ("end", "never")
    )
    if ended:
        tokens = sum(sample.output_tokens for sample in ended) / sum(len(sample.arrivals) for sample in ended)
        yield (
            f"The server said only at the end how many tokens {len(ended):,} answers had. A chunk is no token: "
            f"{tokens:.2f} came in each on average, and figures of single tokens take them as evenly spread."
        )
    if never:
        yield (
            f"The server never said how many tokens {len(never):,} answers had, or was left before it would have: "
            "each of their chunks is counted as one."
        )


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
