"""`nemotron-bench run`, and what belongs to it: `report`, `scenarios` and `self-test`.

`report` makes the report of a run again, `scenarios` lists what there is to run, and `self-test` says what the load
generator itself can take.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_loadtest.cli.options import INTERRUPTED, SLO_HELP, add_run_options, directory_of, say, scenario_of, whole
from nemotron_loadtest.errors import LoadTestError, UnreachableError
from nemotron_loadtest.numbers import number
from nemotron_loadtest.scenario import ClosedLoop, Scenario, load_scenario, shipped_scenarios

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Group, Slo, Verdict
    from nemotron_loadtest.metrics import Thinking
    from nemotron_loadtest.report import Report
    from nemotron_loadtest.run.record import RunRecord
    from nemotron_loadtest.run.runner import RunResult

_TIMES = ("ttft_ms", "first_answer_ms", "thinking_time_ms", "tpot_ms", "itl_ms", "e2e_ms", "schedule_delay_ms")
"""What the terminal shows of each group of requests."""


def add_run(commands: Any) -> None:
    """Add the command `run`."""
    run = commands.add_parser(
        "run", help="run a scenario", description="Run a scenario, print its results and write a report."
    )
    add_run_options(run)
    run.set_defaults(action=_run)


def add_report(commands: Any) -> None:
    """Add the command `report`."""
    report = commands.add_parser(
        "report",
        help="make a run's report again",
        description="Make the report of a run from what it left, also of one that was killed.",
    )
    report.add_argument("directory", metavar="DIR", type=Path, help="of the run")
    report.add_argument("--slo", metavar="NAME", help=f"{SLO_HELP} (default: the scenario's)")
    report.set_defaults(action=_report)


def add_scenarios(commands: Any) -> None:
    """Add the command `scenarios`."""
    parser = commands.add_parser(
        "scenarios",
        help="list the scenarios and SLOs that ship",
        description="List the scenarios that ship: 'run' and 'sweep' take their names. Copy one to begin with. "
        "Below them stand the SLOs that '--slo' takes by name.",
    )
    parser.set_defaults(action=_scenarios)


def add_self_test(commands: Any) -> None:
    """Add the command `self-test`."""
    parser = commands.add_parser(
        "self-test",
        help="say what the load generator itself can take here",
        description="Send to a server of one's own, which plays a script and shares this machine: the most streams "
        "and tokens that the load generator can take, and how late it is at half of that. Takes a minute.",
    )
    parser.add_argument("--most", metavar="N", type=whole(1), default=400, help="streams to try (default: 400)")
    parser.add_argument("--seconds", metavar="S", type=whole(1), default=5, help="for each step (default: 5)")
    parser.set_defaults(action=_self_test)


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


def _scenarios(_: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import slo_names

    paths = shipped_scenarios()
    for path in paths:
        say(f"{path.stem:11} {load_scenario(path).description}")
    say(f"Files: {paths[0].parent}")
    say(f"SLOs, for --slo: {', '.join(slo_names())}")
    return 0


def _self_test(given: argparse.Namespace) -> int:
    from nemotron_loadtest.run.self_test import self_test

    found = self_test(given.most, given.seconds, report=say)
    say(str(found))
    return 0


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


def run_visibly(given: argparse.Namespace, scenario: Scenario, directory: Path) -> RunResult:
    """Run a scenario as the command line says.

    Raises:
        LoadTestError: it cannot start.
    """
    # Locust's patches come before anything that connects, so this import is the first that does.
    from nemotron_loadtest.run.runner import run_scenario

    # isort: split
    from nemotron_loadtest.arrivals import rate_of
    from nemotron_loadtest.report import LiveView

    rate = None if isinstance(scenario.arrivals, ClosedLoop) else rate_of(scenario.arrivals)
    with LiveView(directory.name, scenario.duration_s) as view:

        def on_moment(now_s: float, in_flight: int | None) -> None:
            view.update(now_s, in_flight=in_flight, asked_per_s=rate.at(now_s) if rate else None)

        return run_scenario(
            scenario,
            on_sample=view.add,
            on_moment=on_moment,
            on_warning=view.warn,
            directory=directory,
            processes=given.processes,
            metrics_url=given.metrics_url,
        )


def complain_of(record: RunRecord) -> None:
    """Say what cut a run short; not if somebody did.

    Raises:
        LoadTestError: that is what happened.
    """
    if record.problem:
        kind = UnreachableError if record.ended_by == "failures" else LoadTestError
        raise kind(f"The run has ended early: {record.problem}. What was measured until then is kept.")


def described(report: Report) -> str:
    """Figures of all requests and of those with thinking on and off, what to know of them, and the verdict."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    groups = report.summary.groups
    modes: list[Thinking] = [name for name, group in groups.items() if name != "all" and group.outcomes.requests]
    shown: list[Thinking] = modes if len(modes) == 1 else ["all", *modes]
    for name in shown:
        yield from _group_lines(f"thinking {name}", groups[name])
    yield ", ".join(report.states)
    if report.summary.saturation.saturated:
        yield f"  overloaded: {report.summary.saturation.reason}"
    if not report.summary.steadiness.steady:
        yield f"  not steady: {report.summary.steadiness.reason}"
    yield from (f"  {note}" for note in report.notes)
    if report.verdict:
        yield from _verdict_lines(report.verdict)


def _group_lines(title: str, group: Group) -> Iterator[str]:
    outcomes, figures = group.outcomes, group.figures
    counts = [
        f"{outcomes.requests:,} requests",
        *(f"{count:,} {kind}" for kind, count in outcomes.errors_by_type.items()),
        *([f"{outcomes.cancelled:,} cancelled"] if outcomes.cancelled else []),
        *([f"{outcomes.incomplete:,} unfinished"] if outcomes.incomplete else []),
        f"{number(figures['requests_per_s'])} answered/s",
        f"{number(figures['output_tokens_per_s'])} output tokens/s",
    ]
    yield f"{title}: {', '.join(counts)}"
    yield f"  {'':17} {'p50':>9} {'p90':>9} {'p99':>9}"
    for name in _TIMES:
        found = group.distribution(name)
        if found.count:
            yield f"  {name:17} {number(found.p50):>9} {number(found.p90):>9} {number(found.p99):>9}"


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    yield f"SLO {verdict.slo}: {'met' if verdict.passed else 'NOT MET'}"
    yield from (f"  {'ok  ' if clause.passed else 'FAIL'} {clause}" for clause in verdict.clauses)
