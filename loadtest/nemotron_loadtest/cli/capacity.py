"""`nemotron-bench capacity`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nemotron_loadtest.capacity import DEFAULT_HEADROOM
from nemotron_loadtest.cli.options import above_zero, say


def add_command(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "capacity",
        help="say how many replicas a traffic needs",
        description="How many replicas a traffic needs, from a sweep of one. It is also put into the sweep's report.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="of the sweep")
    parser.add_argument("--peak", metavar="RATE", type=above_zero, required=True, help="requests/s at the busiest time")
    parser.add_argument(
        "--headroom", metavar="SHARE", type=above_zero, default=DEFAULT_HEADROOM, help="(default: %(default)s)"
    )
    parser.add_argument("--thinking-share", metavar="SHARE", type=_share, help="of the requests (default: as measured)")
    parser.add_argument("--plan", metavar="FILE", type=Path, help="output of 'nemotron-build plan --json'")
    parser.set_defaults(action=_capacity)


def _capacity(given: argparse.Namespace) -> int:
    from rich.console import Console

    from nemotron_loadtest.capacity import Demand, load_plan, plan_capacity
    from nemotron_loadtest.report import add_capacity, capacity_table, read_sweep

    demand = Demand(peak_per_s=given.peak, headroom=given.headroom, thinking_share=given.thinking_share)
    plan = plan_capacity(read_sweep(given.directory).replica(), demand, load_plan(given.plan) if given.plan else None)
    page = add_capacity(plan, given.directory)
    Console().print(capacity_table(plan))
    say(str(page))
    return 0


def _share(text: str) -> float:
    """Reads a share."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number from 0 to 1")
    return value
