"""Two measurements on one page: what changed, and the tails of both laid over each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from nemotron_loadtest.analysis import Comparison, Difference, Run
from nemotron_loadtest.metrics import METRICS, Thinking, Traffic
from nemotron_loadtest.numbers import NO_VALUE, in_unit, number
from nemotron_loadtest.report.axes import fitting, tail
from nemotron_loadtest.report.figures import Figure, Table, figure_html, table_html
from nemotron_loadtest.report.page import html_page
from nemotron_loadtest.report.plot_data import Shape, spreads
from nemotron_loadtest.report.svg import Key, Panel

_DRAWN = ("ttft_ms", "itl_ms", "e2e_ms")
_LEAST = 10  # Fewer values are not drawn.
_HEIGHT = 180.0
_COLOURS = ("a", "b")
_Side = dict[tuple[str, Thinking], Shape]


def comparison_html(names: tuple[str, str], sides: tuple[Sequence[Run], Sequence[Run]], found: Comparison) -> str:
    """The page.

    Args:
        names: Of the two measurements.
        sides: Their runs; those of a side are drawn as one.
        found: What differs between them.
    """
    title = f"{names[0]} and {names[1]}"
    changes = found.changes()
    shapes = (_shapes(sides[0]), _shapes(sides[1]))
    figures = "".join(figure_html(figure) for figure in _figures(names, shapes))
    body = (
        f'<header><h1>{escape(title)}</h1><p class="muted">{escape(found.count_sentence())} {escape(found.note)}</p>'
        f'</header><main><section id="changes"><h2>What changed</h2>{_table(names, changes)}</section>'
        f'<section id="tails"><h2>Tails</h2><div class="pair">{figures}</div></section>'
        f'<section id="all"><h2>Every figure</h2>{_table(names, found.differences)}</section></main>'
    )
    return html_page(title, body)


def difference_title(found: Difference) -> str:
    """What a difference is about, for people."""
    statistic = "" if found.statistic == "value" else f" {found.statistic}"
    start = " from the actual start" if found.origin == "actual" else ""
    about = "" if found.thinking == "all" else f", thinking {found.thinking}"
    return f"{METRICS[found.metric].title}{statistic}{start}{about}"


def _table(names: tuple[str, str], differences: Sequence[Difference]) -> str:
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
    if not rows:
        return "<p>No figure changed beyond noise.</p>"
    return table_html(Table(("", names[0], names[1], "ratio", "95 % interval", "finding"), rows))


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
    y = fitting([value for _, _, shape in drawn for _, value in shape.tail])
    x = tail(max(shape.count for _, _, shape in drawn))

    def panels(width: float) -> Sequence[Panel]:
        keys = [Key(colour, name) for name, colour, _ in drawn]
        panel = Panel(width, _HEIGHT, x, y, about.unit, keys, x_title="share of the values below")
        for _, colour, shape in drawn:
            panel.line(shape.tail, colour)
        return [panel]

    counts = "; ".join(f"{name}: {shape.count:,} values" for name, _, shape in drawn)
    return Figure(
        identity=f"tail-{metric}-{mode}",
        title=f"{about.title}, thinking {mode}",
        description=f"{counts}.",
        caption="",
        panels=panels,
    )
