"""Two measurements on one page: what changed, and the tails of both laid over each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nemotron_loadtest.analysis import Comparison, Difference, Run
from nemotron_loadtest.metrics import METRICS, Thinking, Traffic
from nemotron_loadtest.numbers import NO_VALUE, in_unit, number
from nemotron_loadtest.report.page import render
from nemotron_loadtest.report.plot_data import Shape, spreads
from nemotron_loadtest.report.plots import Figure, Key, Panel, Table, axis_by_nines, axis_fitting, draw_line, nines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRAWN = ("ttft_ms", "itl_ms", "e2e_ms")
_LEAST = 10  # Fewer values are not drawn.
_HEIGHT = 126.0
_COLOURS = ("a", "b")
_Side = dict[tuple[str, Thinking], Shape]


def comparison_html(names: tuple[str, str], sides: tuple[Sequence[Run], Sequence[Run]], found: Comparison) -> str:
    """The page.

    Args:
        names: What the two measurements are called.
        sides: Their runs; those of a side are drawn as one.
        found: What differs between them.
    """
    return render(
        "comparison.html",
        title=f"{names[0]} and {names[1]}",
        found=found,
        changes=_table(names, found.changes()),
        figures=_figures(names, (_shapes(sides[0]), _shapes(sides[1]))),
        all=_table(names, found.differences),
    )


def difference_title(found: Difference) -> str:
    """What a difference is about, for people."""
    statistic = "" if found.statistic == "value" else f" {found.statistic}"
    start = " from the actual start" if found.origin == "actual" else ""
    about = "" if found.thinking == "all" else f", thinking {found.thinking}"
    return f"{METRICS[found.metric].title}{statistic}{start}{about}"


def _table(names: tuple[str, str], differences: Sequence[Difference]) -> Table:
    rows = [
        [
            difference_title(one),
            in_unit(one.a, METRICS[one.metric].unit),
            in_unit(one.b, METRICS[one.metric].unit),
            NO_VALUE if one.ratio is None else number(one.ratio),
            NO_VALUE if one.low is None or one.high is None else f"{number(one.low)} to {number(one.high)}",
            one.finding,
        ]
        for one in differences
    ]
    return Table(("", names[0], names[1], "ratio", "95 % interval", "finding"), rows)


def _shapes(side: Sequence[Run]) -> _Side:
    began = [sample for run in side for sample in Traffic(run.samples, run.window).began]
    return {
        (spread.metric, shape.thinking): shape
        for spread in spreads(began)
        for shape in spread.shapes
        if shape.origin != "actual" and shape.count >= _LEAST
    }


def _figures(names: tuple[str, str], sides: tuple[_Side, _Side]) -> Iterator[Figure]:
    modes: tuple[Thinking, ...] = ("on", "off")
    for metric in _DRAWN:
        for mode in modes:
            shapes = [side.get((metric, mode)) for side in sides]
            drawn = [
                (name, colour, shape) for name, colour, shape in zip(names, _COLOURS, shapes, strict=True) if shape
            ]
            if drawn:
                yield _figure(metric, mode, drawn)


def _figure(metric: str, mode: Thinking, drawn: Sequence[tuple[str, str, Shape]]) -> Figure:
    about = METRICS[metric]

    def draw(axes: Axes, _width: float) -> None:
        axis_by_nines(axes, max(shape.count for _, _, shape in drawn))
        axis_fitting(axes, "y", [value for _, _, shape in drawn for _, value in shape.tail])
        for _, colour, shape in drawn:
            draw_line(axes, nines(shape.tail), colour)

    keys = [Key(colour, name) for name, colour, _ in drawn]
    counts = "; ".join(f"{name}: {shape.count:,} values" for name, _, shape in drawn)
    return Figure(
        identity=f"tail-{metric}-{mode}",
        title=f"{about.title}, thinking {mode}",
        description=f"{counts}.",
        panels=[Panel(about.unit, _HEIGHT, draw, keys, x_title="share of the values below")],
    )
