"""Plots of a run: histograms and tails of its latencies, and what went on over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from nemotron_loadtest.analysis import PERCENTILES, Distribution, Slice
from nemotron_loadtest.metrics import METRICS, Latency, Window
from nemotron_loadtest.numbers import number
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.plot_data import Shape, Spread
from nemotron_loadtest.report.plots import (
    BROAD,
    NARROW,
    Figure,
    Key,
    Panel,
    Table,
    axis_between,
    axis_by_factors,
    axis_by_nines,
    axis_fitting,
    axis_from_zero,
    draw_level,
    draw_line,
    draw_steps,
    draw_stretch,
    draw_upright,
    nines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTOGRAM_HEIGHT, _TAIL_HEIGHT, _TIMELINE_HEIGHT = 70.0, 142.0, 78.0
_LEAST, _FEW = 10, 30  # Fewer values are not drawn; up to so many, a histogram shows mostly chance.
_FAILED = "Failed requests"
_GB = 1e9
_Series = tuple[Key, list[tuple[float, float | None]]]


def distribution_figures(report: Report) -> Iterator[Figure]:
    """For each metric that has enough values: its histogram and its tail, thinking on and off, from both starts."""
    for whole in report.spreads:
        shapes = tuple(shape for shape in whole.shapes if shape.count >= _LEAST)
        spread = msgspec.structs.replace(whole, shapes=shapes)
        if shapes and not _is_nothing(spread):
            yield _histogram(spread, report)
            yield _tail(spread, report)


def timeline_figure(report: Report) -> Figure:
    """What was asked, what came back, and the server's own figures, on one axis; warm-up and drain are shaded."""
    slices, window = report.summary.timeline, report.summary.window
    rows = list(_timeline(report))
    peak = max(slices, key=lambda slice_: slice_.in_flight)
    return Figure(
        identity="timeline",
        title="The run over time",
        description=(
            f"{len(slices)} slices from {number(slices[0].start_s)} to {number(slices[-1].end_s)} s. Most in flight: "
            f"{number(peak.in_flight)} at {number(peak.start_s)} s."
        ),
        panels=[
            _timeline_panel(slices, window, heading, series, first=place == 0, last=place == len(rows) - 1)
            for place, (heading, series) in enumerate(rows)
        ],
        caption="Shaded: warm-up before the measured window, drain after it. Seconds since the start of the run.",
        table=_timeline_table(slices),
        widths=(BROAD, NARROW),
    )


def _is_nothing(spread: Spread) -> bool:
    """A closed loop has no schedule to be late for."""
    return spread.metric == "schedule_delay_ms" and max(shape.tail[-1][1] for shape in spread.shapes) < 0.001


def _histogram(spread: Spread, report: Report) -> Figure:
    metric = METRICS[spread.metric]
    modes = _modes(spread)
    caption = "Height is the share of the values."
    if any(sum(shape.counts) < shape.count for shape in spread.shapes):
        caption += " The slowest few are left to the tail."
    if isinstance(metric, Latency):
        caption += " Filled from the intended start, dashed from the actual one."
    if min(shape.count for shape in spread.shapes) < _FEW:
        caption += " Few values: mostly chance."
    return Figure(
        identity=f"histogram-{spread.metric}",
        title=metric.title,
        description=_sentence(spread, report),
        panels=[
            _histogram_panel(spread, report, mode, x_title=metric.unit if mode == modes[-1] else "") for mode in modes
        ],
        caption=caption,
    )


def _histogram_panel(spread: Spread, report: Report, mode: str, *, x_title: str) -> Panel:
    shapes = [shape for shape in spread.shapes if shape.thinking == mode]
    about = _distribution(report, spread, mode)

    def draw(axes: Axes, _width: float) -> None:
        if spread.growing:
            axis_by_factors(axes, "x", spread.edges[0], spread.edges[-1])
        else:
            axis_between(axes, "x", spread.edges[0], spread.edges[-1], ticks=6)
        axis_from_zero(axes, "y", [height for shape in shapes for height in _heights(shape)], ticks=3)
        for shape in reversed(shapes):
            filled = shape.origin != "actual"
            draw_steps(axes, spread.edges, _heights(shape), mode, filled=filled, dashed=not filled)
        for place, name in enumerate(("p50", "p99")):
            value = getattr(about, name)
            if value is not None:
                draw_upright(axes, value, f"{name} {number(value)}", "muted", place=place)

    keys = [Key(mode, f"thinking {mode}, {about.count:,} values")]
    return Panel("%", _HISTOGRAM_HEIGHT, draw, keys, x_title=x_title)


def _tail(spread: Spread, report: Report) -> Figure:
    metric = METRICS[spread.metric]
    values = [value for shape in spread.shapes for _, value in shape.tail]
    clauses = [one for one in (report.slo.clauses if report.slo else ()) if one.metric == spread.metric]

    def draw(axes: Axes, _width: float) -> None:
        axis_by_nines(axes, max(shape.count for shape in spread.shapes))
        axis_fitting(axes, "y", [*values, *(one.limit for one in clauses if one.limit < 3 * max(values))])
        for clause in clauses:
            draw_level(axes, clause.limit, f"p{clause.percentile:g} ≤ {number(clause.limit)}")
        for shape in spread.shapes:
            draw_line(axes, nines(shape.tail), shape.thinking, dashed=shape.origin == "actual")

    caption = "The tail: to the right, the slowest of ten, of a hundred, of a thousand."
    if isinstance(metric, Latency):
        caption += " Dashed from the actual start: where it lies below, requests waited to be sent."
    keys = [Key(mode, f"thinking {mode}") for mode in _modes(spread)]
    return Figure(
        identity=f"tail-{spread.metric}",
        title=f"{metric.title}: tail",
        description=_sentence(spread, report),
        panels=[Panel(metric.unit, _TAIL_HEIGHT, draw, keys, x_title="share of the values below")],
        caption=caption,
        table=_distribution_table(spread, report),
    )


def _modes(spread: Spread) -> list[str]:
    return list(dict.fromkeys(shape.thinking for shape in spread.shapes))


def _heights(shape: Shape) -> list[float]:
    return [100 * count / shape.count for count in shape.counts]


def _distribution(report: Report, spread: Spread, thinking: str, origin: str | None = None) -> Distribution:
    group = report.summary.groups["on" if thinking == "on" else "off"]
    return group.distribution(spread.metric, "actual" if origin == "actual" else "intended")


def _sentence(spread: Spread, report: Report) -> str:
    parts = []
    for shape in spread.shapes:
        found = _distribution(report, spread, shape.thinking, shape.origin)
        start = f" from the {shape.origin} start" if shape.origin else ""
        parts.append(f"thinking {shape.thinking}{start}: p50 {number(found.p50)}, p99 {number(found.p99)} ms")
    return f"{'; '.join(parts)}."


def _distribution_table(spread: Spread, report: Report) -> Table:
    rows = []
    for shape in spread.shapes:
        found = _distribution(report, spread, shape.thinking, shape.origin)
        start = f", from {shape.origin}" if shape.origin else ""
        values = (found.mean, found.min, *(found.at(name) for name in PERCENTILES), found.max)
        rows.append([f"thinking {shape.thinking}{start}", f"{found.count:,}", *(number(value) for value in values)])
    return Table(["", "values", "mean", "min", *(name.replace("_", ".") for name in PERCENTILES), "max"], rows)


def _timeline(report: Report) -> Iterator[tuple[str, list[_Series]]]:
    """Heading and series of each panel; those that nothing is known of are left out."""
    slices, server = report.summary.timeline, report.server
    middles = [(slice_.start_s + slice_.end_s) / 2 for slice_ in slices]

    def seen(values: Sequence[float | None]) -> list[tuple[float, float | None]]:
        return list(zip(middles, values, strict=True))

    def scraped(name: str, scale: float = 1.0) -> list[tuple[float, float | None]]:
        found = [(point.at_s, getattr(point, name)) for point in server]
        return [(at_s, None if value is None else value * scale) for at_s, value in found]

    groups: list[tuple[str, list[_Series]]] = [
        (
            "Requests/s",
            [
                (Key("muted", "asked", dashed=True), seen([one.requested_per_s for one in slices])),
                (Key("a", "answered"), seen([one.requests_per_s for one in slices])),
            ],
        ),
        (
            "In flight",
            [
                (Key("a", "sent"), seen([one.in_flight for one in slices])),
                (Key("b", "running"), scraped("running")),
                (Key("c", "waiting"), scraped("waiting")),
            ],
        ),
        ("Output tokens/s", [(Key("a", "received"), seen([one.output_tokens_per_s for one in slices]))]),
        (
            "TTFT, ms",
            [
                (Key("a", "p50"), seen([one.ttft_ms.p50 for one in slices])),
                (Key("c", "p90"), seen([one.ttft_ms.p90 for one in slices])),
            ],
        ),
        (_FAILED, [(Key("bad", "by start"), seen([one.errors or None for one in slices]))]),
        ("Server CPU, cores", [(Key("b", "of its processes"), scraped("cpu_cores"))]),
        (
            "Server, %",
            [
                (Key("b", "KV cache"), scraped("kv_cache_used", 100)),
                (Key("c", "GPU busy"), scraped("gpu_busy", 100)),
                (Key("d", "GPU memory"), scraped("gpu_memory_used", 100)),
            ],
        ),
        ("Server memory, GB", [(Key("b", "of its processes"), scraped("memory_bytes", 1 / _GB))]),
        ("Triton's queues, ms", [(Key("b", "mean wait"), scraped("queue_ms"))]),
    ]
    for heading, series in groups:
        known = [(key, points) for key, points in series if any(value is not None for _, value in points)]
        if known:
            yield heading, known


def _timeline_panel(
    slices: Sequence[Slice], window: Window, heading: str, series: Sequence[_Series], *, first: bool, last: bool
) -> Panel:
    start_s, end_s = slices[0].start_s, slices[-1].end_s

    def draw(axes: Axes, width: float) -> None:
        axis_between(axes, "x", start_s, end_s, ticks=5 if width < BROAD else 10)
        axes.xaxis.grid(visible=True)
        values = [value for _, points in series for _, value in points]
        if heading.startswith("TTFT"):
            axis_fitting(axes, "y", values)
        else:
            axis_from_zero(axes, "y", values, ticks=3)
        draw_stretch(axes, start_s, window.start_s, "warm-up" if first else "")
        draw_stretch(axes, window.end_s, end_s, "drain" if first else "")
        for key, points in series:
            if heading == _FAILED:
                edges = [start_s, *(one.end_s for one in slices)]
                draw_steps(axes, edges, [value or 0.0 for _, value in points], key.colour, filled=True)
            else:
                draw_line(axes, points, key.colour, dashed=key.dashed)

    keys = [key for key, _ in series]
    return Panel(heading, _TIMELINE_HEIGHT, draw, keys, x_title="s" if last else "", x_numbers=last)


def _timeline_table(slices: Sequence[Slice]) -> Table:
    rows = [
        [
            f"{number(one.start_s)} to {number(one.end_s)}",
            number(one.requested_per_s),
            number(one.requests_per_s),
            number(one.in_flight),
            number(one.output_tokens_per_s),
            number(one.ttft_ms.p50),
            number(one.ttft_ms.p90),
            str(one.errors),
        ]
        for one in slices
    ]
    headings = ("s", "asked/s", "answered/s", "in flight", "tokens/s", "TTFT p50 ms", "TTFT p90 ms", "failed")
    return Table(headings, rows)
