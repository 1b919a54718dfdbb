"""Replicas for a traffic, on the page."""

from __future__ import annotations

from html import escape

from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.numbers import number, share
from nemotron_loadtest.report.figures import Table, table_html


def capacity_section(plan: CapacityPlan) -> str:
    """The number in large, how it was worked out, and what limits."""
    demand = plan.demand
    arithmetic = "".join(f"<li>{escape(line)}</li>" for line in plan.arithmetic)
    warnings = "".join(f"<p><strong>Note:</strong> {escape(warning)}</p>" for warning in plan.warnings)
    return (
        '\n<section id="replicas"><h2>Replicas for the traffic</h2><div class="verdict plain">'
        f'<div><span class="word">{plan.replicas} + 1 replicas</span></div>'
        f"<p>For {number(demand.peak_per_s)} requests/s at peak with {share(demand.headroom)} headroom and "
        f"{share(plan.thinking_share)} of the requests thinking; one more than needed, so that one may be away.</p>"
        f"{warnings}</div><ol>{arithmetic}</ol><p>{escape(plan.limit)}</p>"
        f"{table_html(Table(('', ''), capacity_rows(plan)))}</section>"
    )


def capacity_rows(plan: CapacityPlan) -> list[tuple[str, str]]:
    """What a plan says, a figure a row."""
    rows = [
        ("A replica takes, requests/s", number(plan.replica_per_s)),
        ("Replicas needed", str(plan.replicas)),
        ("With one to spare (N+1)", str(plan.with_spare)),
        ("Load at peak", share(plan.load_at_peak)),
        ("Load at peak with one away", share(plan.load_with_one_away)),
    ]
    return [*rows, ("GPUs in all", str(plan.gpus))] if plan.gpus else rows
