"""`nemotron-bench scenarios`."""

from __future__ import annotations

import argparse
from typing import Any

from nemotron_loadtest.cli.options import say
from nemotron_loadtest.scenario import load_scenario, shipped_scenarios


def add_command(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "scenarios",
        help="list the scenarios and SLOs that ship",
        description="List the scenarios that ship: 'run' and 'sweep' take their names. Copy one to begin with. "
        "Below them stand the SLOs that '--slo' takes by name.",
    )
    parser.set_defaults(action=_scenarios)


def _scenarios(_: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import slo_names

    paths = shipped_scenarios()
    for path in paths:
        say(f"{path.stem:11} {load_scenario(path).description}")
    say(f"Files: {paths[0].parent}")
    say(f"SLOs, for --slo: {', '.join(slo_names())}")
    return 0
