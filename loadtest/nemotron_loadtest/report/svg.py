"""Plots as SVG whose colours come from the page's style, so that one drawing does for light, dark and paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

from nemotron_loadtest.report.axes import Axis

Points = Iterable[tuple[float, float | None]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 24.0, 20.0
_TICK_TEXT = 4.0


@dataclass(frozen=True)
class Key:
    """A series in a panel's heading.

    Attributes:
        colour: Name of a colour of the style: `on`, `off`, `a` to `d`, `bad`, `muted`.
        label: What it is.
        dashed: Whether its line is.
    """

    colour: str
    label: str
    dashed: bool = False


@dataclass
class Panel:
    """A rectangle with two axes, drawn from back to front in the order of the calls.

    Attributes:
        width: In units of the drawing.
        height: The same, heading and labels included.
        x: Axis across.
        y: Axis upwards.
        heading: What the y axis shows, with its unit.
        keys: Series, in the heading.
        x_labels: Whether the x axis has its numbers: only the last of stacked panels.
        x_title: What the x axis shows, below its numbers.
    """

    width: float
    height: float
    x: Axis
    y: Axis
    heading: str
    keys: Sequence[Key] = ()
    x_labels: bool = True
    x_title: str = ""
    _parts: list[str] = field(default_factory=list)

    def line(self, points: Points, colour: str, *, dashed: bool = False, dots: bool = True) -> None:
        """Through points in order; a point without a value interrupts it.

        Args:
            points: From left to right.
            colour: Of the line.
            dashed: Whether it is.
            dots: Whether a point alone is a dot; else it is left to those who mark the points.
        """
        for known, group in groupby(points, key=lambda point: point[1] is not None):
            if known:
                some = [(x, y) for x, y in group if y is not None]
                if len(some) == 1:
                    if dots:
                        self.dot(*some[0], colour)
                    continue
                path = "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in some)
                dashes = " dash" if dashed else ""
                self._parts.append(f'<path class="l s-{colour}{dashes}" d="M{path}"/>')

    def steps(
        self, edges: Sequence[float], heights: Sequence[float], colour: str, *, filled: bool, dashed: bool = False
    ) -> None:
        """A histogram: one height between two edges."""
        path = f"M{self._x(edges[0]):.1f} {self._y(0):.1f}"
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            path += f"V{self._y(height):.1f}H{self._x(right):.1f}" if right > left else ""
        path += f"V{self._y(0):.1f}"
        kind = f"f-{colour} soft" if filled else "none"
        self._parts.append(f'<path class="l s-{colour} {kind}{" dash" if dashed else ""}" d="{path}"/>')

    def dot(self, x: float, y: float, colour: str, *, crossed: bool = False) -> None:
        """A dot, or a cross."""
        at_x, at_y = self._x(x), self._y(y)
        if crossed:
            path = f"M{at_x - 4:.1f} {at_y - 4:.1f}l8 8m0 -8l-8 8"
            self._parts.append(f'<path class="l s-{colour}" d="{path}"/>')
        else:
            self._parts.append(f'<circle class="f-{colour}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="3.5"/>')

    def shade(self, start: float, end: float, label: str) -> None:
        """A stretch of the x axis that does not count."""
        left, right = self._x(start), self._x(end)
        if right - left < 0.5:
            return
        self._parts.append(f'<path class="shade" d="M{left:.1f} {_TOP}H{right:.1f}V{self._bottom:.1f}H{left:.1f}"/>')
        if label and right - left > 6.2 * len(label):
            self._parts.append(self._text(left + 4, _TOP + 12, label, "start"))

    def across(self, y: float, label: str, colour: str = "bad") -> None:
        """A level, where the axis reaches it."""
        if self.y.low <= y <= self.y.high:
            at_y = self._y(y)
            self._parts.append(f'<path class="l s-{colour} fine" d="M{_LEFT} {at_y:.1f}H{self.width - _RIGHT}"/>')
            below = at_y + 12 if at_y < _TOP + 14 else at_y - 4
            self._parts.append(self._text(_LEFT + 4, below, label, "start", colour))

    def upright(self, x: float, label: str, colour: str, *, place: int = 0) -> None:
        """A value on the x axis, where the axis reaches it.

        Args:
            x: Where.
            label: Beside its upper end.
            colour: Of the line and the label.
            place: Line of text, from the top.
        """
        if self.x.low <= x <= self.x.high:
            at_x = self._x(x)
            self._parts.append(f'<path class="l s-{colour} fine" d="M{at_x:.1f} {_TOP}V{self._bottom:.1f}"/>')
            right = at_x > self.width - _RIGHT - 7 * len(label)
            at = at_x - 4 if right else at_x + 4
            self._parts.append(self._text(at, _TOP + 11 + 13 * place, label, "end" if right else "start", colour))

    def render(self, top: float) -> str:
        """As a group of the drawing, so far from its top."""
        return f'<g transform="translate(0 {top:g})">{self._frame()}{"".join(self._parts)}{self._heading()}</g>'

    @property
    def _bottom(self) -> float:
        below = (_BOTTOM if self.x_labels else 6.0) + (16.0 if self.x_title else 0.0)
        return self.height - below

    def _x(self, value: float) -> float:
        return _LEFT + self.x.at(value) * (self.width - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return self._bottom - self.y.at(value) * (self._bottom - _TOP)

    def _frame(self) -> str:
        parts = []
        for value, label in self.y.ticks:
            at_y = self._y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {at_y:.1f}H{self.width - _RIGHT}"/>')
            parts.append(self._text(_LEFT - 5, at_y + _TICK_TEXT, label, "end"))
        parts.append(f'<path class="axis" d="M{_LEFT} {self._bottom:.1f}H{self.width - _RIGHT}"/>')
        for value, label in self.x.ticks:
            at_x = self._x(value)
            parts.append(f'<path class="axis" d="M{at_x:.1f} {self._bottom:.1f}v3"/>')
            if self.x_labels:
                at_end = at_x > self.width - _RIGHT - 3 * len(label)
                at = self.width - 2 if at_end else at_x
                parts.append(self._text(at, self._bottom + 15, label, "end" if at_end else "middle"))
        if self.x_title:
            parts.append(self._text(self.width - 2, self.height - 3, self.x_title, "end"))
        return "".join(parts)

    def _heading(self) -> str:
        spans = [f'<tspan class="h">{escape(self.heading)}</tspan>']
        for key in self.keys:
            mark = "\u254c\u254c" if key.dashed else "\u2501"
            spans.append(f'<tspan class="k k-{key.colour}" dx="10">{mark} {escape(key.label)}</tspan>')
        return f'<text class="t" x="2" y="14">{"".join(spans)}</text>'

    def _text(self, x: float, y: float, label: str, anchor: str, colour: str = "") -> str:
        kind = f"t halo k-{colour}" if colour else "t"
        return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(label)}</text>'


def drawing(panels: Sequence[Panel], *, kind: str, identity: str, title: str, description: str) -> str:
    """Panels below each other as an image with a name and a description.

    Args:
        panels: From the top.
        kind: Class of the element.
        identity: Unique on the page.
        title: What it shows.
        description: What can be seen in it, for those who do not see it.
    """
    width = panels[0].width
    height = sum(panel.height for panel in panels)
    tops = [sum(panel.height for panel in panels[:place]) for place in range(len(panels))]
    body = "".join(panel.render(top) for panel, top in zip(panels, tops, strict=True))
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="{identity}-t {identity}-d"><title id="{identity}-t">{escape(title)}</title>'
        f'<desc id="{identity}-d">{escape(description)}</desc>{body}</svg>'
    )
