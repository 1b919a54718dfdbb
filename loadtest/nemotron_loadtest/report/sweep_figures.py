"""A sweep: latency and throughput against the requested rate, and the capacity that was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from nemotron_loadtest.analysis import Clause, Distribution
from nemotron_loadtest.analysis.percentiles import Percentile
from nemotron_loadtest.numbers import NO_VALUE, number, share
from nemotron_loadtest.report.axes import Axis, fitting, linear
from nemotron_loadtest.report.document import Report
from nemotron_loadtest.report.figures import Figure, Table
from nemotron_loadtest.report.svg import Key, Panel
from nemotron_loadtest.report.sweep import Sweep, SweepPoint

_HEIGHT = 230.0
_KEPT: tuple[Percentile, ...] = ("p99", "p95", "p90", "p50")
_NEAR = {"itl_ms": "tpot_ms"}  # Nearly the same, so that a limit of the one is worth a line among the other.
_Get = Callable[[SweepPoint], float | None]
_Of = Callable[[SweepPoint], Distribution]


def sweep_figures(report: Report) -> Iterator[Figure]:
    """The curves, for a report with a sweep of runs."""
    sweep = report.sweep
    if sweep is None or not sweep.points:
        return
    yield _latency(report, sweep, "ttft_ms", "Time to first token", lambda point: point.ttft_ms)
    yield _latency(report, sweep, "itl_ms", "Inter-token latency, mean of a request", lambda point: point.itl_ms)
    yield _achieved(sweep)
    yield _trade(sweep)


def _latency(report: Report, sweep: Sweep, metric: str, title: str, of: _Of) -> Figure:
    upper = _upper(sweep, of)
    curves: list[tuple[Key, _Get]] = [(Key("a", "p50"), lambda point: of(point).p50)]
    if upper != "p50":
        curves.append((Key("c", upper), lambda point: of(point).at(upper)))
    clauses = report.slo.clauses if report.slo else ()
    limits = [(one.limit, _limit_label(one, metric)) for one in clauses if one.metric in (metric, _NEAR.get(metric))]
    return _against_rate(sweep, title, "ms", curves, limits=limits)


def _limit_label(clause: Clause, metric: str) -> str:
    of = "" if clause.metric == metric else f"{clause.metric.removesuffix('_ms').upper()} "
    return f"SLO {of}p{clause.percentile:g}"


def _upper(sweep: Sweep, of: _Of) -> Percentile:
    """The highest percentile that every run has."""
    return next(name for name in _KEPT if name == "p50" or all(of(point).at(name) for point in sweep.points))


def _achieved(sweep: Sweep) -> Figure:
    rates = [point.rate_per_s for point in sweep.points]
    curves: list[tuple[Key, _Get]] = [
        (Key("muted", "asked", dashed=True), lambda point: point.rate_per_s),
        (Key("a", "answered"), lambda point: point.requests_per_s),
    ]
    return _against_rate(sweep, "Asked and answered", "requests/s", curves, y=linear(rates))


def _against_rate(
    sweep: Sweep,
    title: str,
    unit: str,
    curves: Sequence[tuple[Key, _Get]],
    *,
    limits: Sequence[tuple[float, str]] = (),
    y: Axis | None = None,
) -> Figure:
    values = [get(point) for point in sweep.points for _, get in curves]
    x = linear([point.rate_per_s for point in sweep.points], target=6)
    axis = y or fitting([*values, *(limit for limit, _ in limits)])

    def panels(width: float) -> Sequence[Panel]:
        keys = [key for key, _ in curves]
        panel = Panel(width, _HEIGHT, x, axis, unit, keys, x_title="requested, requests/s")
        for limit, label in limits:
            panel.across(limit, label)
        capacity = sweep.capacity.rate_per_s
        if capacity is not None:
            panel.upright(capacity, f"capacity {number(capacity)}", "b", place=1 if limits else 0)
        for key, get in curves:
            panel.line(_middle(sweep, get), key.colour, dashed=key.dashed)
            if not key.dashed:
                _dots(panel, sweep, lambda point: point.rate_per_s, get, key.colour)
        return [panel]

    return Figure(
        identity=f"sweep-{title.lower().replace(' ', '-').replace(',', '')}",
        title=title,
        description=_sentence(sweep),
        caption="A dot is a run that met the SLO, a cross one that did not; lines join the medians.",
        panels=panels,
    )


def _trade(sweep: Sweep) -> Figure:
    throughput = [point.output_tokens_per_s for point in sweep.points]
    latency = [point.e2e_ms.p50 for point in sweep.points]

    def panels(width: float) -> Sequence[Panel]:
        x, y = linear(throughput, target=5), fitting(latency)
        panel = Panel(width, _HEIGHT, x, y, "End to end p50, ms", x_title="output tokens/s")
        across = _middle(sweep, lambda point: point.output_tokens_per_s)
        upwards = _middle(sweep, lambda point: point.e2e_ms.p50)
        panel.line([(at or 0.0, value) for (_, at), (_, value) in zip(across, upwards, strict=True)], "a")
        _dots(panel, sweep, lambda point: point.output_tokens_per_s, lambda point: point.e2e_ms.p50, "a")
        return [panel]

    return Figure(
        identity="sweep-trade",
        title="Throughput against latency",
        description=_sentence(sweep),
        caption="In the order of the requested rates: where the curve turns upwards, more load buys only waiting.",
        panels=panels,
    )


def sweep_table(sweep: Sweep) -> Table:
    """A row a run, in the order of the search."""
    ttft, itl = (_upper(sweep, of) for of in (lambda point: point.ttft_ms, lambda point: point.itl_ms))
    headings = (
        "rate/s",
        "SLO",
        "answered/s",
        "tokens/s",
        "in flight",
        "TTFT p50",
        f"{ttft} ms",
        "ITL p50",
        f"{itl} ms",
        "failed",
    )
    rows = [
        [
            number(point.rate_per_s),
            "met" if point.passed else "not met",
            number(point.requests_per_s),
            number(point.output_tokens_per_s),
            number(point.in_flight),
            number(point.ttft_ms.p50),
            number(point.ttft_ms.at(ttft)),
            number(point.itl_ms.p50),
            number(point.itl_ms.at(itl)),
            share(point.error_share),
        ]
        for point in sweep.points
    ]
    return Table(headings, rows)


def _dots(panel: Panel, sweep: Sweep, x: _Get, y: _Get, colour: str) -> None:
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
