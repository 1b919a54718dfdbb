"""`nemotron-bench run`, and `nemotron-bench report`, which makes its report again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_loadtest.cli.described import described
from nemotron_loadtest.cli.options import INTERRUPTED, SLO_HELP, add_run_options, directory_of, say, scenario_of
from nemotron_loadtest.cli.running import complain_of, run_visibly
from nemotron_loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Slo
    from nemotron_loadtest.report import Report


def add_command(commands: Any) -> None:
    """Add the commands."""
    run = commands.add_parser(
        "run", help="run a scenario", description="Run a scenario, print its results and write a report."
    )
    add_run_options(run)
    run.set_defaults(action=_run)
    report = commands.add_parser(
        "report",
        help="make a run's report again",
        description="Make the report of a run from what it left, also of one that was killed.",
    )
    report.add_argument("directory", metavar="DIR", type=Path, help="of the run")
    report.add_argument("--slo", metavar="NAME", help=f"{SLO_HELP} (default: the scenario's)")
    report.set_defaults(action=_report)


def _run(given: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import load_slo

    scenario = scenario_of(given)
    slo = load_slo(scenario.slo) if scenario.slo else None
    directory = directory_of(given)
    record = run_visibly(given, scenario, directory).record
    try:
        report = _reported(directory, slo)
    except LoadTestError:
        complain_of(record)  # which is why nothing was measured
        raise
    complain_of(record)
    return INTERRUPTED if record.ended_by == "interrupt" else _status(report)


def _report(given: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import load_slo

    return _status(_reported(given.directory, load_slo(given.slo) if given.slo else None))


def _reported(directory: Path, slo: Slo | None) -> Report:
    """Write the report, and say the main of it."""
    from nemotron_loadtest.report import report_of, write_report

    report, samples = report_of(directory, slo=slo)
    page = write_report(report, samples, directory)
    say(described(report))
    say(str(page))
    return report


def _status(report: Report) -> int:
    return 0 if report.verdict is None or report.verdict.passed else 1
