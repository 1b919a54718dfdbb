"""What the sections of the page say, as words and tables; templates/report.html lays them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nemotron_loadtest.analysis import PERCENTILES, Distribution, Group
from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.metrics import METRICS, Latency, Metric, Origin, Ratio, Thinking
from nemotron_loadtest.numbers import NO_VALUE, in_unit, number, share
from nemotron_loadtest.report.document import Report, State, Sweep
from nemotron_loadtest.report.plots import Table

DEFINITIONS = (
    ("Intended start", "when the schedule wanted a request sent. Latencies from it hold what users would have waited."),
    ("Actual start", "when it was sent. Latencies from it are what the server took."),
    ("TTFT", "time to first token, a thinking token where the model thinks."),
    ("ITL", "inter-token latency: time from one token to the next after the first."),
    ("TPOT", "time per output token, as MLPerf has it."),
    ("Goodput", "requests that met every limit of the SLO."),
    ("p99", "the value that 99 of 100 values do not exceed; measured, not interpolated."),
)
"""The words that the page uses."""

_CARD_ROWS: tuple[tuple[str, str, Origin], ...] = (
    ("Time to first token, ms", "ttft_ms", "intended"),
    ("… from the actual start", "ttft_ms", "actual"),
    ("Time to first answer token, ms", "first_answer_ms", "intended"),
    ("Thinking time, ms", "thinking_time_ms", "intended"),
    ("Inter-token latency, ms", "itl_ms", "intended"),
    ("Gap between responses, ms", "response_gap_ms", "intended"),
    ("Time per output token, ms", "tpot_ms", "intended"),
    ("End to end, ms", "e2e_ms", "intended"),
    ("Prompt tokens", "prompt_tokens", "intended"),
    ("Output tokens", "output_tokens", "intended"),
    ("Thinking tokens", "reasoning_tokens", "intended"),
)
_OF_THINKING = ("thinking_time_ms", "reasoning_tokens")


@dataclass(frozen=True)
class Tile:
    """A figure of the whole run, in large, with a smaller one below."""

    title: str
    value: str
    small: str


@dataclass(frozen=True)
class Card:
    """The key figures of the requests with thinking on or off.

    Attributes:
        mode: Whether they think.
        title: How many there are.
        output_tokens_per_s: Of these requests together.
        table: Percentiles; None where none of the requests was answered whole.
    """

    mode: Thinking
    title: str
    output_tokens_per_s: str
    table: Table | None


def head_line(report: Report) -> str:
    """What was run, when, and for how long."""
    facts, window = report.facts, report.summary.window
    try:
        started = datetime.fromisoformat(facts.started_at).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        started = facts.started_at
    parts = [facts.description, f"Started {started}", f"{window.length_s:,.0f} s measured"]
    return " · ".join(filter(None, parts))


def meaning(state: State, report: Report) -> str:
    """What a state says of the run, in a sentence."""
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


def sweep_sentence(sweep: Sweep) -> str:
    """What the search found, below the rate in large."""
    found = sweep.capacity
    below = "" if found.fails_at_per_s is None else f"; {number(found.fails_at_per_s)} requests/s did not"
    runs = f"{len(found.trials)} runs; the report of one of them is below."
    return f"The highest rate that met the SLO “{sweep.slo}”{below}. {runs}" if found.rate_per_s else runs


def capacity_rows(plan: CapacityPlan) -> list[tuple[str, str]]:
    """What a plan says, a figure a row."""
    rows = [
        ("A replica takes, requests/s", number(plan.replica_per_s)),
        ("Replicas needed", str(plan.replicas)),
        ("With one to spare (N+1)", str(plan.with_spare)),
        ("Load at peak", share(plan.load_at_peak)),
        ("Load at peak with one away", share(plan.load_with_one_away)),
    ]
    if plan.gpus:
        rows.append(("GPUs in all", str(plan.gpus)))
    if scaling := plan.scaling:
        rows += [
            ("Autoscaler: replicas", f"{scaling.min_replicas} to {scaling.max_replicas}"),
            ("Autoscaler: requests in flight, each", f"{scaling.in_flight_per_replica:g}"),
            ("Autoscaler: requests waiting, each", str(scaling.waiting_per_replica)),
            ("A package's max_batch_size, at least", str(scaling.least_batch)),
        ]
    return rows


def tiles(report: Report) -> Iterator[Tile]:
    """The run at a glance."""
    group = report.summary.all
    figures, outcomes = group.figures, group.outcomes
    asked = f"of {number(figures['requested_per_s'])} asked"
    yield Tile("Requests/s answered", number(figures["requests_per_s"]), asked)
    in_flight = f"{number(figures['in_flight'])} in flight, mean"
    yield Tile("Output tokens/s", number(figures["output_tokens_per_s"]), in_flight)
    for name, title in (("ttft_ms", "TTFT p50"), ("itl_ms", "ITL p50")):
        found = group.distribution(name)
        yield Tile(title, in_unit(found.p50, "ms"), f"p99 {in_unit(found.p99, 'ms')}")
    counts = f"{outcomes.ok:,} whole, {report.summary.before:,} in warm-up"
    yield Tile("Requests", f"{outcomes.requests:,}", counts)
    failed = outcomes.errors + outcomes.incomplete
    parts = f"{outcomes.errors:,} failed, {outcomes.incomplete:,} unfinished"
    yield Tile("Failed or unfinished", share(failed / outcomes.requests if outcomes.requests else None), parts)
    if group.goodput:
        yield Tile("Goodput", share(group.goodput.share), f"{number(group.goodput.per_s)} good requests/s")
    if outcomes.cancelled:
        yield Tile("Cancelled on purpose", share(figures["cancelled_share"]), f"{outcomes.cancelled:,} requests")
    delay = group.distribution("schedule_delay_ms")
    if delay.max:
        yield Tile("Schedule delay p99", in_unit(delay.p99, "ms"), "how late the load generator was")
    if figures["prefix_cache_share"]:
        yield Tile("From the prefix cache", share(figures["prefix_cache_share"]), "of the prompt tokens")


def cards(report: Report) -> Iterator[Card]:
    """One for each way of thinking that was asked for."""
    modes: tuple[Thinking, ...] = ("on", "off")
    for mode in modes:
        group = report.summary.groups[mode]
        if requests := group.outcomes.requests:
            yield Card(
                mode=mode,
                title=f"Thinking {mode}: {requests:,} requests",
                output_tokens_per_s=number(group.figures["output_tokens_per_s"]),
                table=_card_table(mode, group) if group.distribution("e2e_ms").count else None,
            )


def failures_table(report: Report) -> Table:
    """What went wrong, by kind; without rows if nothing did."""
    outcomes = report.summary.all.outcomes
    rows = [
        *((kind or "(unnamed)", count) for kind, count in outcomes.errors_by_type.items()),
        *([("unfinished when the run ended", outcomes.incomplete)] if outcomes.incomplete else []),
    ]
    shown = [(kind, f"{count:,}", share(count / outcomes.requests)) for kind, count in rows]
    return Table(("Kind", "requests", "share"), shown)


def thirds_table(report: Report) -> Table:
    """The thirds of the run, by which it is judged whether it was steady."""
    rows = [
        (
            f"{number(part.start_s)} to {number(part.end_s)} s",
            f"{part.requests:,}",
            number(part.output_tokens_per_s),
            number(part.e2e_p90_ms),
        )
        for part in report.summary.steadiness.parts
    ]
    return Table(("Third", "whole answers", "output tokens/s", "end to end p90, ms"), rows)


def metrics_table(group: Group) -> Table:
    """Every figure of a group of requests."""
    rows: list[list[str]] = []
    for name, metric in METRICS.items():
        if isinstance(metric, Ratio):
            rows.append([metric.title, "", in_unit(group.figures[name], metric.unit), *[""] * (len(PERCENTILES) + 1)])
        elif isinstance(metric, Latency):
            both = group.latencies[name]
            rows.append(_statistics(f"{metric.title}, from intended", metric, both.intended))
            rows.append(_statistics(f"{metric.title}, from actual", metric, both.actual))
        else:
            rows.append(_statistics(metric.title, metric, group.distributions[name]))
    return Table(("", "values", "mean", *(name.replace("_", ".") for name in PERCENTILES), "max"), rows)


def setting_tables(report: Report) -> Iterator[tuple[str, Table]]:
    """Scenario and environment, each with its caption; those that were not recorded are left out."""
    for caption, content in (("Scenario", report.facts.scenario), ("Environment", report.facts.environment)):
        if rows := list(_flat(content)):
            yield caption, Table(("", ""), rows)


def _card_table(mode: Thinking, group: Group) -> Table:
    rows = []
    for title, name, origin in _CARD_ROWS:
        if mode == "on" or name not in _OF_THINKING:
            found = group.distribution(name, origin)
            rows.append((title, number(found.p50), number(found.p90), number(found.p99)))
    return Table(("", "p50", "p90", "p99"), rows)


def _statistics(title: str, metric: Metric, found: Distribution) -> list[str]:
    shown = share if metric.unit == "share" else number
    values = (found.mean, *(found.at(name) for name in PERCENTILES), found.max)
    unit = "" if metric.unit == "share" or title.lower().endswith(metric.unit) else f", {metric.unit}"
    return [f"{title}{unit}", f"{found.count:,}", *(shown(value) for value in values)]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", NO_VALUE if value is None else str(value)
