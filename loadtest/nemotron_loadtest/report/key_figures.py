"""Key figures: tiles for the whole run, and a table each for thinking on and off."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from nemotron_loadtest.analysis import Distribution, Group
from nemotron_loadtest.metrics import Origin, Thinking
from nemotron_loadtest.numbers import NO_VALUE, in_unit, number, share
from nemotron_loadtest.report.document import Report

_ROWS: tuple[tuple[str, str, Origin], ...] = (
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


def tiles(report: Report) -> str:
    """The run at a glance."""
    shown = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(value)}<small>{escape(small)}</small></dd></div>"
        for title, value, small in _tiles(report)
    )
    return f'<dl class="tiles">{shown}</dl>'


def _tiles(report: Report) -> Iterator[tuple[str, str, str]]:
    group = report.summary.all
    figures, outcomes = group.figures, group.outcomes
    yield "Requests/s answered", number(figures["requests_per_s"]), f"of {number(figures['requested_per_s'])} asked"
    yield "Output tokens/s", number(figures["output_tokens_per_s"]), f"{number(figures['in_flight'])} in flight, mean"
    ttft = group.distribution("ttft_ms")
    yield "TTFT p50", in_unit(ttft.p50, "ms"), f"p99 {in_unit(ttft.p99, 'ms')}"
    itl = group.distribution("itl_ms")
    yield "ITL p50", in_unit(itl.p50, "ms"), f"p99 {in_unit(itl.p99, 'ms')}"
    yield "Requests", f"{outcomes.requests:,}", f"{outcomes.ok:,} whole, {report.summary.before:,} in warm-up"
    failed = outcomes.errors + outcomes.incomplete
    parts = f"{outcomes.errors:,} failed, {outcomes.incomplete:,} unfinished"
    yield "Failed or unfinished", share(failed / outcomes.requests if outcomes.requests else None), parts
    if group.goodput:
        yield "Goodput", share(group.goodput.share), f"{number(group.goodput.per_s)} good requests/s"
    if outcomes.cancelled:
        yield "Cancelled on purpose", share(figures["cancelled_share"]), f"{outcomes.cancelled:,} requests"
    delay = group.distribution("schedule_delay_ms")
    if delay.max:
        yield "Schedule delay p99", in_unit(delay.p99, "ms"), "how late the load generator was"
    if figures["prefix_cache_share"]:
        yield "From the prefix cache", share(figures["prefix_cache_share"]), "of the prompt tokens"


def cards(report: Report) -> str:
    """A table for each way of thinking that was asked for."""
    modes: tuple[Thinking, ...] = ("on", "off")
    groups = [(mode, report.summary.groups[mode]) for mode in modes]
    shown = "".join(_card(mode, group) for mode, group in groups if group.outcomes.requests)
    if not shown:
        return '<p class="muted">No request began in the measured window.</p>'
    note = f"From the intended start unless it says otherwise. {NO_VALUE} stands for too few values for the percentile."
    return f'<div class="pair">{shown}</div><p class="note">{note}</p>'


def _card(mode: Thinking, group: Group) -> str:
    outcomes = group.outcomes
    title = f'<span class="dot-{mode}"></span>Thinking {mode}: {outcomes.requests:,} requests'
    if not group.distribution("e2e_ms").count:
        return f"<div><p><strong>{title}</strong></p><p>No request was answered whole.</p></div>"
    rows = "".join(
        _row(title, group.distribution(name, origin))
        for title, name, origin in _ROWS
        if mode == "on" or name not in _OF_THINKING
    )
    return (
        f'<div class="wide"><table><caption>{title}, {number(group.figures["output_tokens_per_s"])} output tokens/s'
        f"</caption><thead><tr><td></td>"
        f'<th scope="col">p50</th><th scope="col">p90</th><th scope="col">p99</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(title: str, found: Distribution) -> str:
    values = "".join(f"<td>{number(value)}</td>" for value in (found.p50, found.p90, found.p99))
    return f'<tr><th scope="row">{escape(title)}</th>{values}</tr>'
