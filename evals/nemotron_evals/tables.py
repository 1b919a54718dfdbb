"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0, 1)) -> str:
    """Columns two spaces apart; those in `left` and the last one begin at their left, the others end at their right."""
    table = [headings, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(headings))]
    last = len(headings) - 1

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if at in left or at == last else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in table)
