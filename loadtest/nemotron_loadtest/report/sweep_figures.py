"""A sweep: latency and throughput against the requested rate, and the capacity that was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from nemotron_loadtest.analysis import Clause, ClauseResult, samples_needed
from nemotron_loadtest.numbers import NO_VALUE, number, share
from nemotron_loadtest.report.axes import Axis, fitting, linear
from nemotron_loadtest.report.document import Report, Sweep, SweepPoint
from nemotron_loadtest.report.figures import Figure, Table
from nemotron_loadtest.report.svg import Key, Panel

_HEIGHT = 230.0
_MARKS = "A dot is a run that met the SLO, a cross one that did not; lines join the medians."
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
    return _against_rate(
        sweep,
        results[0].title,
        results[0].unit,
        [(Key("a", f"p{clause.percentile:g}"), measured)],
        limits=[(clause.limit, f"SLO p{clause.percentile:g} ≤ {number(clause.limit)}")],
        caption=" ".join(notes),
        identity=f"sweep-clause-{place}",
    )


def _achieved(sweep: Sweep) -> Figure:
    return _against_rate(
        sweep,
        "Asked and answered",
        "requests/s",
        [(Key("a", "answered"), lambda point: point.requests_per_s)],
        y=linear([point.rate_per_s for point in sweep.points]),
        asked=Key("muted", "asked", dashed=True),
        identity="sweep-asked-and-answered",
    )


def _against_rate(
    sweep: Sweep,
    title: str,
    unit: str,
    curves: Sequence[tuple[Key, _Get]],
    *,
    identity: str,
    limits: Sequence[tuple[float, str]] = (),
    y: Axis | None = None,
    asked: Key | None = None,
    caption: str = _MARKS,
) -> Figure:
    values = [get(point) for point in sweep.points for _, get in curves]
    x = linear([point.rate_per_s for point in sweep.points], target=6)
    axis = y or fitting([*values, *(limit for limit, _ in limits)])

    def panels(width: float) -> Sequence[Panel]:
        keys = [*([asked] if asked else []), *(key for key, _ in curves)]
        panel = Panel(width, _HEIGHT, x, axis, unit, keys, x_title="requested, requests/s")
        for limit, label in limits:
            panel.across(limit, label)
        capacity = sweep.capacity.rate_per_s
        if capacity is not None:
            panel.upright(capacity, f"capacity {number(capacity)}", "b", place=1 if limits else 0)
        if asked:
            end = min(x.high, axis.high)
            panel.line([(0.0, 0.0), (end, end)], asked.colour, dashed=True)
        for key, get in curves:
            panel.line(_middle(sweep, get), key.colour, dots=False)
            _marks(panel, sweep, lambda point: point.rate_per_s, get, key.colour)
        return [panel]

    return Figure(identity=identity, title=title, description=_sentence(sweep), caption=caption, panels=panels)


def _trade(sweep: Sweep) -> Figure:
    throughput = [point.output_tokens_per_s for point in sweep.points]
    latency = [point.e2e_ms.p50 for point in sweep.points]

    def panels(width: float) -> Sequence[Panel]:
        x, y = linear(throughput, target=5), fitting(latency)
        panel = Panel(width, _HEIGHT, x, y, "End to end p50, ms", x_title="output tokens/s")
        across = _middle(sweep, lambda point: point.output_tokens_per_s)
        upwards = _middle(sweep, lambda point: point.e2e_ms.p50)
        panel.line([(at or 0.0, value) for (_, at), (_, value) in zip(across, upwards, strict=True)], "a", dots=False)
        _marks(panel, sweep, lambda point: point.output_tokens_per_s, lambda point: point.e2e_ms.p50, "a")
        return [panel]

    return Figure(
        identity="sweep-trade",
        title="Throughput against latency",
        description=_sentence(sweep),
        caption=f"{_MARKS} Where the curve turns upwards, more load only makes requests wait.",
        panels=panels,
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


def _marks(panel: Panel, sweep: Sweep, x: _Get, y: _Get, colour: str) -> None:
    for point in sweep.points:
        at_x, at_y = x(point), y(point)
        if at_x is not None and at_y is not None:
            panel.dot(at_x, at_y, colour if point.passed else "bad", crossed=not point.passed)


def _middle(sweep: Sweep, get: _Get) -> list[tuple[float, float | None]]:
    values: dict[float, list[float | None]] = defaultdict(list)
    for point in sweep.points:
        values[point.rate_per_s].append(get(point))
    return [(rate, _median(values[rate])) for rate in sorted(values)]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _sentence(sweep: Sweep) -> str:
    found = sweep.capacity
    at = NO_VALUE if found.rate_per_s is None else f"{number(found.rate_per_s)} requests/s"
    fails = f", {number(found.fails_at_per_s)} fails" if found.fails_at_per_s is not None else ""
    return f"{len(sweep.points)} runs; capacity {at}{fails}."
