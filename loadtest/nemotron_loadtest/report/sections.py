"""The page's sections that are text and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nemotron_loadtest.analysis import PERCENTILES, Distribution
from nemotron_loadtest.metrics import METRICS, Latency, Metric, Ratio
from nemotron_loadtest.numbers import NO_VALUE, in_unit, number, share
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.figures import Table, table_html

_DEFINITIONS = (
    ("Intended start", "when the schedule wanted a request sent. Latencies from it hold what users would have waited."),
    ("Actual start", "when it was sent. Latencies from it are what the server took."),
    ("TTFT", "time to first token, a thinking token where the model thinks."),
    ("ITL", "inter-token latency: time from one token to the next after the first."),
    ("TPOT", "time per output token, as MLPerf has it."),
    ("Goodput", "requests that met every limit of the SLO."),
    ("p99", "the value that 99 of 100 values do not exceed; measured, not interpolated."),
)


def failures(report: Report) -> str:
    """What went wrong, by kind."""
    outcomes = report.summary.all.outcomes
    rows = [
        *((kind or "(unnamed)", count) for kind, count in outcomes.errors_by_type.items()),
        *([("unfinished when the run ended", outcomes.incomplete)] if outcomes.incomplete else []),
    ]
    if not rows:
        return "<p>No request failed.</p>" if outcomes.requests else "<p>No request began in the measured window.</p>"
    shown = [(kind, f"{count:,}", share(count / outcomes.requests)) for kind, count in rows]
    return table_html(Table(("Kind", "requests", "share"), shown))


def conduct(report: Report) -> str:
    """Whether the run can be trusted to stand for the server."""
    steadiness, saturation = report.summary.steadiness, report.summary.saturation
    overload = {True: "OVERLOADED", False: "NOT OVERLOADED", None: "OVERLOAD UNKNOWN"}[saturation.saturated]
    rows = [
        (
            f"{number(part.start_s)} to {number(part.end_s)} s",
            f"{part.requests:,}",
            number(part.output_tokens_per_s),
            number(part.e2e_p90_ms),
        )
        for part in steadiness.parts
    ]
    parts = table_html(Table(("Third", "whole answers", "output tokens/s", "end to end p90, ms"), rows))
    scraped = ""
    if report.scrape_failures:
        times = "once" if report.scrape_failures == 1 else f"{report.scrape_failures:,} times"
        scraped = f"<p>The server's metrics could not be read {times}; they are read once a second.</p>"
    return (
        f"<p><strong>{steadiness.title}</strong>: {escape(steadiness.reason)}.</p>{parts}"
        f"<p><strong>{overload}</strong>: {escape(saturation.reason)}.</p>{scraped}"
    )


def all_metrics(report: Report) -> str:
    """Every figure, for all requests and for those with thinking on and off, folded."""
    tables = "".join(
        f"<details><summary>{'All requests' if thinking == 'all' else f'Thinking {thinking}'}</summary>"
        f"{table_html(_metrics_table(report, thinking))}</details>"
        for thinking in report.summary.groups
    )
    return f"{tables}<p class=note>The same is in metrics.csv; requests.csv has a row a request.</p>"


def setting(report: Report) -> str:
    """Scenario and environment."""
    shown = ""
    for caption, content in (("Scenario", report.facts.scenario), ("Environment", report.facts.environment)):
        if rows := list(_flat(content)):
            shown += table_html(Table(("", ""), rows), kind="text", caption=caption)
    return f'<div class="pair">{shown}</div>' if shown else '<p class="muted">Not recorded.</p>'


def definitions() -> str:
    """The words that the page uses."""
    shown = "".join(f"<li><strong>{escape(word)}</strong>: {escape(meaning)}</li>" for word, meaning in _DEFINITIONS)
    return f"<h2>Words</h2><ul>{shown}</ul>"


def _metrics_table(report: Report, thinking: str) -> Table:
    group = next(group for name, group in report.summary.groups.items() if name == thinking)
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
