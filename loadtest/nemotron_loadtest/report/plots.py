"""Plots by matplotlib, as SVG whose colours come from the page's style: one drawing does for light, dark and paper.

matplotlib is imported when the first plot is drawn. It draws in colours that stand for the roles of templates/style.css
(`on`, `off`, `a` to `d`, `bad`, `muted`, `line`, `shade`), which are then replaced by the style's variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from markupsafe import Markup

from nemotron_loadtest.numbers import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BROAD, HALF, NARROW = 880.0, 400.0, 343.0
"""Widths of drawings: of the page, of half of it or a phone, and of a phone for what is drawn broad elsewhere."""

Points = Iterable[tuple[float, float | None]]
_Direction = Literal["x", "y"]
_ROLES = ("on", "off", "a", "b", "c", "d", "bad", "muted", "line", "shade")
_CODES = {role: f"#0000{place:02x}" for place, role in enumerate(_ROLES, start=1)}
_LEFT, _RIGHT, _TOP = 44.0, 10.0, 6.0
_NUMBERS, _TITLE, _NONE = 21.0, 16.0, 4.0  # Room below the axes.
_TAIL_SHARES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
_FAR = 30  # Values so many times as large as others need an axis that grows by factors.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nemotron-bench",
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.edgecolor": _CODES["muted"],
    "axes.facecolor": "none",
    "axes.labelcolor": _CODES["muted"],
    "axes.labelsize": 10.5,
    "axes.labelpad": 3,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _CODES["line"],
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.dashed_pattern": (3, 2),
    "lines.dotted_pattern": (2, 3),
    "lines.solid_capstyle": "butt",
    "xaxis.labellocation": "right",
    "xtick.color": _CODES["muted"],
    "xtick.major.pad": 5,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": _CODES["muted"],
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


@dataclass(frozen=True)
class Key:
    """A series in a panel's heading.

    Attributes:
        colour: The role whose colour it has.
        label: What it is.
        dashed: Whether its line is.
    """

    colour: str
    label: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Two axes and what is drawn between them.

    Attributes:
        heading: What the y axis shows, with its unit.
        height: The axes' height, in units of the drawing.
        draw: Sets the limits and draws, at a width of the drawing.
        keys: Series, beside the heading.
        x_title: What the x axis shows, below its numbers.
        x_numbers: Whether the x axis has numbers: of stacked panels, only the last.
    """

    heading: str
    height: float
    draw: Callable[[Axes, float], None]
    keys: Sequence[Key] = ()
    x_title: str = ""
    x_numbers: bool = True


@dataclass(frozen=True)
class Table:
    """A table, its cells as people read them; the first cell of a row is its heading."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A plot with all that belongs to it.

    Attributes:
        identity: Unique on the page.
        title: What it shows.
        description: What can be seen in it, in a sentence.
        panels: Below each other.
        caption: What to know to read it; may be empty.
        table: The same as figures; None where the page has them beside it.
        widths: The drawings' widths: one for every page, or one for broad pages and one for phones.
    """

    identity: str
    title: str
    description: str
    panels: Sequence[Panel]
    caption: str = ""
    table: Table | None = None
    widths: Sequence[float] = (HALF,)


@contextmanager
def plot_style() -> Iterator[None]:
    """Within it, matplotlib draws as reports need it, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def drawing(panel: Panel, width: float) -> tuple[str, Markup]:
    """Draw a panel, within `plot_style`.

    Returns:
        The SVG element's viewBox, and what belongs into it.
    """
    from matplotlib.figure import Figure as Canvas

    below = (_NUMBERS if panel.x_numbers else _NONE) + (_TITLE if panel.x_title else 0)
    height = _TOP + panel.height + below
    canvas = Canvas(figsize=(width / 72, height / 72), dpi=72, frameon=False)
    place = (_LEFT / width, below / height, (width - _LEFT - _RIGHT) / width, panel.height / height)
    axes = canvas.add_axes(place, xlabel=panel.x_title)
    axes.tick_params("x", labelbottom=panel.x_numbers)
    panel.draw(axes, width)
    file = io.StringIO()
    canvas.savefig(file, format="svg", metadata={"Date": None})
    return f"0 0 {width:g} {height:g}", _inline(file.getvalue())


def axis_from_zero(axes: Axes, direction: _Direction, values: Iterable[float | None], *, ticks: int = 4) -> None:
    """An axis from 0 to a round number that no value exceeds."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(ticks, steps=[1, 2, 5, 10])
    end = max((value for value in values if value is not None), default=0.0) or 1.0
    _set_axis(axes, direction, 0.0, float(locator.tick_values(0.0, end)[-1]))
    getattr(axes, f"{direction}axis").set_major_locator(locator)


def axis_between(axes: Axes, direction: _Direction, low: float, high: float, *, ticks: int = 4) -> None:
    """An axis from one end to the other, ticks at round numbers within."""
    from matplotlib.ticker import MaxNLocator

    if not high > low:
        low, high = low - 0.5, high + 0.5
    _set_axis(axes, direction, low, high)
    getattr(axes, f"{direction}axis").set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))


def axis_by_factors(axes: Axes, direction: _Direction, low: float, high: float) -> None:
    """An axis from one end above 0 to the other, equal distances for equal factors."""
    from matplotlib.ticker import LogLocator, NullLocator

    if not high > low * 1.0001:
        low, high = low / 2, high * 2
    axes.set(**{f"{direction}scale": "log"})
    _set_axis(axes, direction, low, high)
    axis = getattr(axes, f"{direction}axis")
    decades = np.log10(high / low)
    multiples = (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 3 else (1.0,)
    axis.set_major_locator(LogLocator(subs=multiples))
    axis.set_minor_locator(NullLocator())


def axis_fitting(axes: Axes, direction: _Direction, values: Iterable[float | None]) -> None:
    """An axis from 0, or by factors where the values are too far apart for that."""
    known = [value for value in values if value is not None]
    above = [value for value in known if value > 0]
    if above and max(above) / min(above) > _FAR:
        axis_by_factors(axes, direction, min(above), max(above))
    else:
        axis_from_zero(axes, direction, known)


def axis_by_nines(axes: Axes, values: int) -> None:
    """An x axis of shares, stretched towards 1: 90 %, 99 % and 99.9 % are equally far apart.

    Args:
        axes: What is drawn on it goes through `nines`.
        values: How many there are: with n, a share of 1 - 1/(n + 1) is the last that means anything.
    """
    high = max(0.9, 1 - 1 / (values + 1))
    axes.set_xlim(0.0, _nines(high))
    shares = [share for share in _TAIL_SHARES if share <= high]
    axes.set_xticks([_nines(share) for share in shares], [f"{share * 100:g}\u202f%" for share in shares])


def nines(points: Points) -> list[tuple[float, float | None]]:
    """Points of a tail, a share and its value, for an axis `axis_by_nines`."""
    return [(_nines(share), value) for share, value in points]


def draw_line(axes: Axes, points: Points, colour: str, *, dashed: bool = False, dots: bool = True) -> None:
    """Through points in order; a point without a value interrupts it, and one beyond the axes lies at their end.

    Args:
        axes: With its limits.
        points: From left to right.
        colour: Role of the line.
        dashed: Whether it is.
        dots: Whether a point alone is a dot; else it is left to those who mark the points.
    """
    x, y = np.array([(at, np.nan if value is None else value) for at, value in points], float).reshape(-1, 2).T
    x, y = np.clip(x, *axes.get_xlim()), np.clip(y, *axes.get_ylim())
    axes.plot(x, y, color=_CODES[colour], linestyle="--" if dashed else "-")
    known = np.pad(~np.isnan(y), 1)
    for place in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]) if dots else ():
        draw_mark(axes, x[place], y[place], colour)


def draw_steps(
    axes: Axes, edges: Sequence[float], heights: Sequence[float], colour: str, *, filled: bool, dashed: bool = False
) -> None:
    """A histogram: one height between two edges."""
    if filled:
        axes.stairs(heights, edges, color=_CODES[colour], fill=True, alpha=0.28, linewidth=0)
    axes.stairs(heights, edges, color=_CODES[colour], linewidth=1.6, linestyle="--" if dashed else "-")


def draw_mark(axes: Axes, x: float, y: float, colour: str, *, crossed: bool = False, name: str = "") -> None:
    """A dot, or a cross.

    Args:
        axes: With its limits.
        x: Where.
        y: Where.
        colour: Role.
        crossed: Whether it is a cross.
        name: Class of the element; none if it is empty.
    """
    from matplotlib.markers import MarkerStyle
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    # As a path of its own: matplotlib's markers are references, whose targets need identities unique on the page.
    style = MarkerStyle("x" if crossed else "o")
    path = style.get_path().transformed(style.get_transform())
    transform = Affine2D().scale(8 if crossed else 7).translate(*axes.transData.transform((x, y)))
    width = 1.6 if crossed else 0
    patch = PathPatch(path, transform=transform, color=_CODES[colour], fill=not crossed, linewidth=width, zorder=3)
    patch.set_gid(f".{name}" if name else None)
    axes.add_artist(patch)


def draw_stretch(axes: Axes, start: float, end: float, label: str) -> None:
    """A stretch of the x axis that does not count."""
    start, end = np.clip((start, end), *axes.get_xlim())
    left, right = (axes.transData.transform((at, 0))[0] for at in (start, end))
    if right - left < 0.5:
        return
    axes.axvspan(start, end, color=_CODES["shade"], linewidth=0, zorder=0)
    if right - left > 6.2 * len(label):
        _label(axes, label, "muted", at=(start, 1), units=("data", "axes fraction"), offset=(4, -12))


def draw_level(axes: Axes, y: float, label: str, colour: str = "bad") -> None:
    """A level, where the axis reaches it."""
    low, high = axes.get_ylim()
    if low <= y <= high:
        axes.axhline(y, color=_CODES[colour], linewidth=1, linestyle=":")
        near_top = axes.transData.transform((1, y))[1] > axes.bbox.y1 - 14
        offset = (4, -12 if near_top else 4)
        _label(axes, label, colour, at=(0, y), units=("axes fraction", "data"), offset=offset)


def draw_upright(axes: Axes, x: float, label: str, colour: str, *, place: int = 0) -> None:
    """A value on the x axis, where the axis reaches it.

    Args:
        axes: With its limits.
        x: Where.
        label: Beside its upper end.
        colour: Role of the line and the label.
        place: Line of text, from the top.
    """
    low, high = axes.get_xlim()
    if low <= x <= high:
        axes.axvline(x, color=_CODES[colour], linewidth=1, linestyle=":")
        at_right = axes.transData.transform((x, 1))[0] > axes.bbox.x1 - 7 * len(label)
        offset = (-4 if at_right else 4, -10 - 13 * place)
        _label(axes, label, colour, at=(x, 1), units=("data", "axes fraction"), offset=offset)


def _set_axis(axes: Axes, direction: _Direction, low: float, high: float) -> None:
    axes.set(**{f"{direction}lim": (low, high)})
    getattr(axes, f"{direction}axis").set_major_formatter(lambda value, _: short(value))


def _nines(share: float) -> float:
    return float(-np.log10(1 - share))


def _label(
    axes: Axes, text: str, colour: str, *, at: tuple[float, float], units: tuple[str, str], offset: tuple[float, float]
) -> None:
    """Words in the plot, on a halo that keeps lines from crossing them."""
    side = "right" if offset[0] < 0 else "left"
    axes.annotate(text, at, offset, units, "offset points", color=_CODES[colour], ha=side, gid=".halo", zorder=4)


_ATTRIBUTE = re.compile(r'\s(id|d|x|y|style|transform|clip-path)="([^"]*)"')
_LONG = re.compile(r"-?\d+\.\d{2,}")
_ROLE = {code: f"var(--{role})" for role, code in _CODES.items()}


def _inline(svg: str) -> Markup:
    """What matplotlib drew, as a part of the page: its colours and fonts are the page's.

    Identities go, for they would have to be unique on the page, and with them the clipping, for nothing is drawn beyond
    the axes.
    """
    marks = svg[svg.index('<g id="figure_1">') : svg.rindex("</svg>")]
    marks = _ATTRIBUTE.sub(lambda found: _attribute(found[1], found[2]), marks)
    marks = re.sub(r"<defs>.*?</defs>|<g/>|(?<=>)\s+(?=<)", "", marks, flags=re.DOTALL)
    return Markup(marks)  # noqa: S704 - matplotlib has escaped its texts


def _attribute(name: str, value: str) -> str:
    if name == "id":
        return f' class="{value[1:]}"' if value.startswith(".") else ""
    if name == "clip-path" or (name == "transform" and re.match(r"rotate\(-?0 ", value)):
        return ""
    if name == "style":
        parts = [part for part in value.split("; ") if not part.startswith(("font", "stroke-dashoffset"))]
        value = ";".join(parts).replace(": ", ":")
        return ' style="' + re.sub("#[0-9a-f]{6}", lambda found: _ROLE.get(found[0], found[0]), value) + '"'
    rounded = _LONG.sub(lambda found: f"{float(found[0]):.1f}", value)
    return f' {name}="{" ".join(rounded.split())}"'
