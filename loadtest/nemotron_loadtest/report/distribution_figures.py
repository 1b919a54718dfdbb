"""Histograms and tails of latencies, thinking on and off apart, from both starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from nemotron_loadtest.analysis import PERCENTILES, Distribution
from nemotron_loadtest.metrics import METRICS, Latency
from nemotron_loadtest.numbers import number
from nemotron_loadtest.report.axes import Axis, between, fitting, growing, linear, tail
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.figures import Figure, Table
from nemotron_loadtest.report.plot_data import Shape, Spread
from nemotron_loadtest.report.svg import Key, Panel

_HISTOGRAM_HEIGHT, _TAIL_HEIGHT = 118.0, 200.0
_LEAST, _FEW = 10, 30  # Fewer values are not drawn; up to so many, a histogram shows mostly chance.


def distribution_figures(report: Report) -> Iterator[Figure]:
    """For each metric that has enough values: its histogram and its tail."""
    for whole in report.spreads:
        shapes = tuple(shape for shape in whole.shapes if shape.count >= _LEAST)
        spread = msgspec.structs.replace(whole, shapes=shapes)
        if shapes and not _is_nothing(spread):
            yield _histogram(spread, report)
            yield _tail(spread, report)


def _is_nothing(spread: Spread) -> bool:
    """A closed loop has no schedule to be late for."""
    return spread.metric == "schedule_delay_ms" and max(shape.tail[-1][1] for shape in spread.shapes) < 0.001


def _histogram(spread: Spread, report: Report) -> Figure:
    metric = METRICS[spread.metric]
    edges = spread.edges
    axis = growing(edges[0], edges[-1]) if spread.growing else between(edges[0], edges[-1], target=6)
    modes = list(dict.fromkeys(shape.thinking for shape in spread.shapes))

    def panels(width: float) -> Sequence[Panel]:
        drawn = []
        for mode in modes:
            shapes = [shape for shape in spread.shapes if shape.thinking == mode]
            about = _distribution(report, spread, mode)
            title = metric.unit if mode == modes[-1] else ""
            panel = Panel(width, _HISTOGRAM_HEIGHT, axis, _height_axis(shapes), "%", x_title=title)
            _draw_histogram(panel, shapes, edges, about)
            drawn.append(panel)
        return drawn

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
        caption=caption,
        panels=panels,
    )


def _height_axis(shapes: Sequence[Shape]) -> Axis:
    return linear([height for shape in shapes for height in _heights(shape)], target=3)


def _heights(shape: Shape) -> list[float]:
    return [100 * count / shape.count for count in shape.counts]


def _draw_histogram(panel: Panel, shapes: Sequence[Shape], edges: Sequence[float], about: Distribution) -> None:
    mode = shapes[0].thinking
    panel.keys = (Key(mode, f"thinking {mode}, {about.count:,} values"),)
    for shape in reversed(shapes):
        filled = shape.origin != "actual"
        panel.steps(edges, _heights(shape), mode, filled=filled, dashed=not filled)
    for place, name in enumerate(("p50", "p99")):
        value = getattr(about, name)
        if value is not None:
            panel.upright(value, f"{name} {number(value)}", "muted", place=place)


def _tail(spread: Spread, report: Report) -> Figure:
    metric = METRICS[spread.metric]
    most = max(shape.count for shape in spread.shapes)
    values = [value for shape in spread.shapes for _, value in shape.tail]
    limits = _limits(spread.metric, report)
    y: Axis = fitting([*values, *(limit for limit, _ in limits if limit < 3 * max(values))])

    def panels(width: float) -> Sequence[Panel]:
        modes = list(dict.fromkeys(shape.thinking for shape in spread.shapes))
        keys = [Key(mode, f"thinking {mode}") for mode in modes]
        panel = Panel(width, _TAIL_HEIGHT, tail(most), y, metric.unit, keys, x_title="share of the values below")
        for limit, label in limits:
            panel.across(limit, label)
        for shape in spread.shapes:
            panel.line(shape.tail, shape.thinking, dashed=shape.origin == "actual")
        return [panel]

    caption = "The tail: to the right, the slowest of ten, of a hundred, of a thousand."
    if isinstance(metric, Latency):
        caption += " Dashed from the actual start: where it lies below, requests waited to be sent."
    return Figure(
        identity=f"tail-{spread.metric}",
        title=f"{metric.title}: tail",
        description=_sentence(spread, report),
        caption=caption,
        panels=panels,
        table=_table(spread, report),
    )


def _limits(metric: str, report: Report) -> list[tuple[float, str]]:
    clauses = report.slo.clauses if report.slo else ()
    return [(one.limit, f"p{one.percentile:g} ≤ {number(one.limit)}") for one in clauses if one.metric == metric]


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


def _table(spread: Spread, report: Report) -> Table:
    rows = []
    for shape in spread.shapes:
        found = _distribution(report, spread, shape.thinking, shape.origin)
        start = f", from {shape.origin}" if shape.origin else ""
        values = (found.mean, found.min, *(found.at(name) for name in PERCENTILES), found.max)
        rows.append([f"thinking {shape.thinking}{start}", f"{found.count:,}", *(number(value) for value in values)])
    return Table(["", "values", "mean", "min", *(name.replace("_", ".") for name in PERCENTILES), "max"], rows)
