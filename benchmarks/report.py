"""The table that a benchmark prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Aims = Mapping[str, Mapping[str, tuple[str, float]]]
"""Figure → where it was measured, "" if it has one value → `≥` or `≤` and the aim."""


def print_table(results: Mapping[str, Any], aims: Aims) -> None:
    """All figures but the machine's, with their aims."""
    table = Table("figure", "at", "measured", "aim", "")
    for (name, *at), measured in _rows({key: value for key, value in results.items() if key != "machine"}):
        aim = aims.get(name, {}).get(" ".join(at))
        met = aim is None or (measured >= aim[1] if aim[0] == "≥" else measured <= aim[1])
        verdict = "" if aim is None else "[green]met[/]" if met else "[red]missed[/]"
        shown = f"{measured:.3g}" if abs(measured) < 1000 else f"{measured:,.0f}"
        table.add_row(name, " ".join(at), shown, f"{aim[0]} {aim[1]:g}" if aim else "", verdict)
    Console().print(table)


def _rows(value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from (((key, *path), measured) for path, measured in _rows(inner))
        else:
            yield (key,), inner
