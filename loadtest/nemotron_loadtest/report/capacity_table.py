"""Replicas for a traffic, in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.report.capacity_section import capacity_rows


def capacity_table(plan: CapacityPlan) -> RenderableType:
    """The arithmetic, what it comes to, and what limits, for 80 columns."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right", style="bold")
    for name, value in capacity_rows(plan):
        table.add_row(name, value)
    return Group(
        *(Text(line) for line in plan.arithmetic),
        Text(),
        table,
        Text(),
        Text(plan.limit),
        *(Text(f"Warning: {warning}", "yellow") for warning in plan.warnings),
    )
