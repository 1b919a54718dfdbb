"""`nemotron-bench compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_loadtest.cli.options import say
from nemotron_loadtest.numbers import number

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Difference, Run


def add_command(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="say what differs between two measurements, and what is noise",
        description="Compare two measurements: ratios B / A with 95 % confidence intervals. Three runs a side or more "
        "show what differs from run to run.",
    )
    parser.add_argument("a", metavar="A", type=Path, help="directory of a run")
    parser.add_argument("b", metavar="B", type=Path, help="directory of another one")
    parser.add_argument("--more-a", metavar="DIR", type=Path, action="append", default=[], help="further runs like A")
    parser.add_argument("--more-b", metavar="DIR", type=Path, action="append", default=[], help="further runs like B")
    parser.set_defaults(action=_compare)


def _compare(given: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import compare

    comparison = compare(
        [_run(path) for path in (given.a, *given.more_a)], [_run(path) for path in (given.b, *given.more_b)]
    )
    say(_row("metric", "A", "B", "B / A", "95 % interval", ""))
    for difference in comparison.differences:
        if difference.finding != "no value":
            say(_described(difference))
    say(comparison.note)
    return 0


def _run(directory: Path) -> Run:
    from nemotron_loadtest.analysis import Run
    from nemotron_loadtest.run.record import measured_window, read_run

    record, samples = read_run(directory)
    return Run(samples, measured_window(record, samples))


def _described(found: Difference) -> str:
    origin = f" from {found.origin} start" if found.origin else ""
    what = f"{found.metric} {found.statistic}{origin}, thinking {found.thinking}"
    ratio = "" if found.ratio is None else f"{found.ratio:.3f}"
    interval = "" if found.low is None or found.high is None else f"[{found.low:.3f}, {found.high:.3f}]"
    return _row(what, number(found.a), number(found.b), ratio, interval, found.finding)


def _row(what: str, *cells: str) -> str:
    a, b, ratio, interval, finding = cells
    return f"{what:62} {a:>10} {b:>10}  {ratio:>7} {interval:18} {finding}".rstrip()
