"""A plot with all that belongs to it: caption, and the same figures as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from nemotron_loadtest.report.svg import Panel, drawing

BROAD, HALF, NARROW = 880.0, 430.0, 343.0
"""Widths of drawings: of the page, of half of it, and of a phone; text is as large in each."""


@dataclass(frozen=True)
class Table:
    """A table, its cells as people read them."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A plot.

    Attributes:
        identity: Unique on the page.
        title: What it shows.
        description: What can be seen in it, in a sentence.
        caption: What to know to read it; may be empty.
        panels: Draws it at a width.
        table: The same as figures; None where the page has them beside it.
        width: On a broad page.
    """

    identity: str
    title: str
    description: str
    caption: str
    panels: Callable[[float], Sequence[Panel]]
    table: Table | None = None
    width: float = HALF


def figure_html(figure: Figure) -> str:
    """Both drawings, of which the style shows the one that the page has room for, caption and table."""
    drawings = "".join(
        drawing(
            figure.panels(width),
            kind=kind,
            identity=f"{figure.identity}-{kind}",
            title=figure.title,
            description=figure.description,
        )
        for kind, width in (("broad", figure.width), ("narrow", NARROW))
    )
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    folded = ""
    if figure.table:
        folded = f"<details><summary>As a table</summary>{table_html(figure.table)}</details>"
    return f"<figure><h3>{escape(figure.title)}</h3>{drawings}{caption}{folded}</figure>"


def table_html(table: Table, *, kind: str = "", caption: str = "") -> str:
    """A table that scrolls where it is too wide; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in table.rows
    )
    shown = f"<caption>{escape(caption)}</caption>" if caption else ""
    class_ = f' class="{kind}"' if kind else ""
    thead = f"<thead><tr>{head}</tr></thead>" if any(table.headings) else ""
    return f'<div class="wide"><table{class_}>{shown}{thead}<tbody>{body}</tbody></table></div>'
