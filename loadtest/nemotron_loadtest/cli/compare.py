"""`nemotron-bench compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_loadtest.cli.options import say
from nemotron_loadtest.numbers import in_unit

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Difference, Run


def add_compare(commands: Any) -> None:
    """Add the command `compare`."""
    parser = commands.add_parser(
        "compare",
        help="say what differs between two measurements, and what is noise",
        description="Compare two measurements: ratios B / A with 95 % confidence intervals. Shown is what changed, of "
        "each metric the surest change, ten at most. Three runs a side or more show what differs from run to run.",
    )
    parser.add_argument("a", metavar="A", type=Path, help="directory of a run")
    parser.add_argument("b", metavar="B", type=Path, help="directory of another one")
    parser.add_argument("--more-a", metavar="DIR", type=Path, action="append", default=[], help="further runs like A")
    parser.add_argument("--more-b", metavar="DIR", type=Path, action="append", default=[], help="further runs like B")
    parser.add_argument("--all", action="store_true", help="every figure, also those that are noise")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page with both laid over each other")
    parser.set_defaults(action=_compare)


def _compare(given: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import compare
    from nemotron_loadtest.report import comparison_html

    sides = [_run(path) for path in (given.a, *given.more_a)], [_run(path) for path in (given.b, *given.more_b)]
    comparison = compare(*sides)
    shown = [one for one in comparison.differences if one.finding != "no value"] if given.all else comparison.changes()
    if shown:
        say(_row("", "A", "B", "B / A", "95 % interval", ""))
    for difference in shown:
        say(_described(difference))
    more = "" if given.all else " --all lists every figure."
    say(f"{comparison.count_sentence()}{more}")
    say(comparison.note)
    if given.html is not None:
        page = comparison_html(_names(given.a, given.b), sides, comparison)
        given.html.write_text(page, encoding="utf-8")
        say(str(given.html))
    return 0


def _names(a: Path, b: Path) -> tuple[str, str]:
    """The directories' names, with those above them where they are the same."""
    paths = a.resolve(), b.resolve()
    return (paths[0].name, paths[1].name) if paths[0].name != paths[1].name else (str(paths[0]), str(paths[1]))


def _run(directory: Path) -> Run:
    from nemotron_loadtest.analysis import Run
    from nemotron_loadtest.run.record import measured_window, read_run

    record, samples = read_run(directory)
    return Run(samples, measured_window(record, samples))


def _described(found: Difference) -> str:
    from nemotron_loadtest.metrics import METRICS
    from nemotron_loadtest.report import difference_title

    unit = METRICS[found.metric].unit
    ratio = "" if found.ratio is None else f"{found.ratio:.3f}"
    interval = "" if found.low is None or found.high is None else f"[{found.low:.3f}, {found.high:.3f}]"
    return _row(difference_title(found), in_unit(found.a, unit), in_unit(found.b, unit), ratio, interval, found.finding)


def _row(what: str, *cells: str) -> str:
    a, b, ratio, interval, finding = cells
    return f"{finding:8} {what:56} {a:>15} {b:>15}  {ratio:>7} {interval}".rstrip()
