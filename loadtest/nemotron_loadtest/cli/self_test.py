"""`nemotron-bench self-test`."""

from __future__ import annotations

import argparse
from typing import Any

from nemotron_loadtest.cli.options import say, whole


def add_command(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "self-test",
        help="say what the load generator itself can take here",
        description="Send to a server of one's own, which plays a script and shares this machine: the most streams "
        "and tokens that the load generator can take, and how late it is at half of that. Takes a minute.",
    )
    parser.add_argument("--most", metavar="N", type=whole(1), default=400, help="streams to try (default: 400)")
    parser.add_argument("--seconds", metavar="S", type=whole(1), default=5, help="for each step (default: 5)")
    parser.set_defaults(action=_self_test)


def _self_test(given: argparse.Namespace) -> int:
    from nemotron_loadtest.run.self_test import self_test

    found = self_test(given.most, given.seconds, report=say)
    say(str(found))
    return 0
