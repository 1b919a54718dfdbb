"""What our part of a plot is: the page's colours, nothing that needs the page to be its own, the same bytes again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nemotron_loadtest.report.plots import (
    HALF,
    Panel,
    axis_between,
    axis_by_factors,
    axis_by_nines,
    axis_fitting,
    axis_from_zero,
    draw_level,
    draw_line,
    draw_mark,
    draw_steps,
    draw_stretch,
    draw_upright,
    drawing,
    nines,
    plot_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVIL = "<script>alert('$x$')</script>&\""
positive = st.floats(1e-3, 1e9)


def everything(axes: Axes, _width: float) -> None:
    axis_between(axes, "x", 0.0, 10.0)
    axis_from_zero(axes, "y", [4.2])
    draw_stretch(axes, 0.0, 3.0, "warm-up")
    draw_steps(axes, [0.0, 5.0, 10.0], [1.0, 2.0], "on", filled=True)
    draw_line(axes, [(0.0, 1.0), (1.0, 1.123456), (2.0, None), (3.0, 2.0), (4.0, None), (5.0, 9.0)], "a", dashed=True)
    draw_mark(axes, 5.0, 2.0, "bad", crossed=True, name="missed")
    draw_level(axes, 4.0, EVIL)
    draw_upright(axes, 2.0, EVIL, "muted")


def drawn(panel: Panel) -> str:
    with plot_style():
        return str(drawing(panel, HALF)[1])


def panel(draw: object = everything) -> Panel:
    return Panel("ms", 100.0, draw, x_title="seconds")  # type: ignore[arg-type]


def test_colours_and_fonts_are_the_pages() -> None:
    marks = drawn(panel())

    assert not re.search(r"#[0-9a-f]{3,6}|rgb\(|font|DejaVu", marks)
    assert {f"var(--{role})" for role in ("on", "a", "bad", "muted", "line", "shade")} == set(
        re.findall(r"var\(--\w+\)", marks)
    )


def test_a_drawing_needs_nothing_else_and_can_stand_beside_others() -> None:
    marks = drawn(panel())

    assert not re.search(r"\bid=|href|url\(|<defs|<style|https?:", marks)
    assert marks.count('class="missed"') == 1
    assert marks.count("<g") - marks.count("/>") <= marks.count("</g>") <= marks.count("<g")


def test_words_are_text_and_escaped() -> None:
    marks = drawn(panel())

    assert marks.count("&lt;script&gt;alert('$x$')&lt;/script&gt;&amp;") == 2
    assert "<script" not in marks
    assert ">warm-up</text>" in marks and ">seconds</text>" in marks


def test_the_same_is_drawn_again_whatever_the_users_settings_are() -> None:
    once = drawn(panel())
    with matplotlib.rc_context({"svg.fonttype": "path", "lines.linewidth": 9, "axes.facecolor": "red"}):
        assert drawn(panel()) == once


def test_a_point_alone_is_a_dot_and_one_beyond_the_axis_lies_at_its_end() -> None:
    def lines(axes: Axes, _width: float) -> None:
        axis_between(axes, "x", 0.0, 10.0)
        axis_from_zero(axes, "y", [4.0])
        before = len(axes.patches) + len(axes.artists)
        draw_line(axes, [(-5.0, 1.0), (2.0, 100.0), (3.0, None), (4.0, 2.0)], "a")
        points = np.asarray(axes.lines[0].get_xydata())
        assert points[:2].tolist() == [[0.0, 1.0], [2.0, axes.get_ylim()[1]]]
        assert len(axes.patches) + len(axes.artists) == before + 1

    drawn(panel(lines))


@settings(max_examples=20, deadline=None)
@example([None, 0.0], 0.001, 0.0010000000000000002, 1)
@example([1.0, 10_000.0], 1.0, 1.0, 10**7)
@given(
    st.lists(st.one_of(st.none(), st.just(0.0), st.floats(1e-6, 1e12)), max_size=5),
    positive,
    positive,
    st.integers(1, 10**7),
)
def test_axes_hold_all_values_and_have_few_numbers(
    values: list[float | None], one: float, other: float, count: int
) -> None:
    low, high = sorted((one, other))

    def axes_of_all_kinds(axes: Axes, _width: float) -> None:
        for set_axis in (axis_from_zero, axis_fitting):
            axes.clear()
            set_axis(axes, "y", values)
            assert all(value is None or value <= axes.get_ylim()[1] * (1 + 1e-9) for value in values)
            few(axes, "y")
        for set_ends in (axis_between, axis_by_factors):
            axes.clear()
            set_ends(axes, "x", low, high)
            assert axes.get_xlim()[0] <= low <= high <= axes.get_xlim()[1]
            few(axes, "x")
        axes.clear()
        axis_by_nines(axes, count)
        few(axes, "x")
        [(last, _)] = nines([(count / (count + 1), 1.0)])
        assert axes.get_xlim()[1] == pytest.approx(max(1.0, last))

    drawn(panel(axes_of_all_kinds))


def few(axes: Axes, direction: str) -> None:
    axis = getattr(axes, f"{direction}axis")
    low, high = getattr(axes, f"get_{direction}lim")()
    assert 1 <= sum(low <= tick <= high for tick in axis.get_majorticklocs()) <= 12
