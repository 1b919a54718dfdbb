"""A sweep: latency and throughput against the requested rate, and the capacity that was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import TYPE_CHECKING

from nemotron_loadtest.analysis import Clause, ClauseResult, samples_needed
from nemotron_loadtest.numbers import NO_VALUE, number, share
from nemotron_loadtest.report.document import Report, Sweep, SweepPoint
from nemotron_loadtest.report.plots import (
    Figure,
    Key,
    Panel,
    Table,
    axis_fitting,
    axis_from_zero,
    draw_level,
    draw_line,
    draw_mark,
    draw_upright,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 170.0
_MARKS = "A dot is a run that met the SLO, a cross one that did not; lines join the medians."
_RATE_TITLE = "requested, requests/s"
_Get = Callable[[SweepPoint], float | None]


def sweep_figures(report: Report) -> Iterator[Figure]:
    """The curves, for a report with a sweep of runs."""
    sweep = report.sweep
    if sweep is None or not sweep.points:
        return
    for place, clause in enumerate(report.slo.clauses if report.slo else ()):
        if all(len(point.clauses) > place for point in sweep.points):
            yield _judged(sweep, place, clause)
    yield _achieved(sweep)
    yield _trade(sweep)


def _judged(sweep: Sweep, place: int, clause: Clause) -> Figure:
    """The percentile that a clause of the SLO is about, and its limit."""

    def measured(point: SweepPoint) -> float | None:
        return point.clauses[place].measured

    results = [point.clauses[place] for point in sweep.points]
    notes = [_MARKS]
    if any(result.passed and not point.passed for result, point in zip(results, sweep.points, strict=True)):
        notes.append("A cross that keeps the limit here failed another clause: see the table.")
    if without := sum(result.measured is None for result in results):
        which = "No run" if without == len(results) else f"{without} of {len(results)} runs"
        has = "has" if which == "No run" else "do not have"
        notes.append(f"{which} {has} the {samples_needed(clause.statistic):,} values that this percentile takes.")
    return Figure(
        identity=f"sweep-clause-{place}",
        title=results[0].title,
        description=_sentence(sweep),
        panels=[_judged_panel(sweep, clause, results[0].unit, measured)],
        caption=" ".join(notes),
    )


def _judged_panel(sweep: Sweep, clause: Clause, unit: str, measured: _Get) -> Panel:
    def draw(axes: Axes, _width: float) -> None:
        axis_from_zero(axes, "x", [_rate(point) for point in sweep.points], ticks=6)
        axis_fitting(axes, "y", [*(measured(point) for point in sweep.points), clause.limit])
        draw_level(axes, clause.limit, f"SLO p{clause.percentile:g} ≤ {number(clause.limit)}")
        _draw_capacity(axes, sweep, place=1)
        _draw_runs(axes, sweep, _rate, measured)

    return Panel(unit, _HEIGHT, draw, [Key("a", f"p{clause.percentile:g}")], x_title=_RATE_TITLE)


def _achieved(sweep: Sweep) -> Figure:
    def draw(axes: Axes, _width: float) -> None:
        rates = [_rate(point) for point in sweep.points]
        axis_from_zero(axes, "x", rates, ticks=6)
        axis_from_zero(axes, "y", rates)
        _draw_capacity(axes, sweep)
        end = min(axes.get_xlim()[1], axes.get_ylim()[1])
        draw_line(axes, [(0.0, 0.0), (end, end)], "muted", dashed=True)
        _draw_runs(axes, sweep, _rate, lambda point: point.requests_per_s)

    keys = [Key("muted", "asked", dashed=True), Key("a", "answered")]
    return Figure(
        identity="sweep-asked-and-answered",
        title="Asked and answered",
        description=_sentence(sweep),
        panels=[Panel("requests/s", _HEIGHT, draw, keys, x_title=_RATE_TITLE)],
        caption=_MARKS,
    )


def _trade(sweep: Sweep) -> Figure:
    def draw(axes: Axes, _width: float) -> None:
        axis_from_zero(axes, "x", [point.output_tokens_per_s for point in sweep.points], ticks=5)
        axis_fitting(axes, "y", [point.e2e_ms.p50 for point in sweep.points])
        _draw_runs(axes, sweep, lambda point: point.output_tokens_per_s, lambda point: point.e2e_ms.p50)

    return Figure(
        identity="sweep-trade",
        title="Throughput against latency",
        description=_sentence(sweep),
        panels=[Panel("End to end p50, ms", _HEIGHT, draw, x_title="output tokens/s")],
        caption=f"{_MARKS} Where the curve turns upwards, more load only makes requests wait.",
    )


def sweep_table(sweep: Sweep) -> Table:
    """A row a run, in the order of the search: what the SLO judges, and the medians beside it."""
    results = sweep.points[0].clauses
    headings = (
        "rate/s",
        "SLO",
        *(f"{result.title}{'' if result.unit == 'share' else f', {result.unit}'}" for result in results),
        "answered/s",
        "tokens/s",
        "in flight",
        "TTFT p50, ms",
        "ITL p50, ms",
        *(() if results else ("failed",)),
    )
    rows = [
        [
            number(point.rate_per_s),
            "met" if point.passed else "not met",
            *(_cell(result) for result in point.clauses),
            number(point.requests_per_s),
            number(point.output_tokens_per_s),
            number(point.in_flight),
            number(point.ttft_ms.p50),
            number(point.itl_ms.p50),
            *(() if results else (share(point.error_share),)),
        ]
        for point in sweep.points
    ]
    return Table(headings, rows)


def _cell(result: ClauseResult) -> str:
    value = share(result.measured) if result.unit == "share" else number(result.measured)
    return value if result.passed else f"{value}\u00a0✗"


def _rate(point: SweepPoint) -> float:
    return point.rate_per_s


def _draw_capacity(axes: Axes, sweep: Sweep, *, place: int = 0) -> None:
    capacity = sweep.capacity.rate_per_s
    if capacity is not None:
        draw_upright(axes, capacity, f"capacity {number(capacity)}", "b", place=place)


def _draw_runs(axes: Axes, sweep: Sweep, x: _Get, y: _Get) -> None:
    """The medians of each rate as a line, and a mark for each run."""
    by_rate: dict[float, list[SweepPoint]] = defaultdict(list)
    for point in sweep.points:
        by_rate[point.rate_per_s].append(point)
    middles = [(_median(map(x, by_rate[rate])) or 0.0, _median(map(y, by_rate[rate]))) for rate in sorted(by_rate)]
    draw_line(axes, middles, "a", dots=False)
    for point in sweep.points:
        at_x, at_y = x(point), y(point)
        if at_x is not None and at_y is not None:
            met = point.passed
            draw_mark(axes, at_x, at_y, "a" if met else "bad", crossed=not met, name="met" if met else "missed")


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _sentence(sweep: Sweep) -> str:
    found = sweep.capacity
    at = NO_VALUE if found.rate_per_s is None else f"{number(found.rate_per_s)} requests/s"
    fails = f", {number(found.fails_at_per_s)} fails" if found.fails_at_per_s is not None else ""
    return f"{len(sweep.points)} runs; capacity {at}{fails}."
