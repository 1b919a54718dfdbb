"""`nemotron-bench run`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_loadtest.cli.options import add_run_options, directory_of, say, scenario_of
from nemotron_loadtest.errors import LoadTestError, UnreachableError

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Slo, Summary, Verdict
    from nemotron_loadtest.run.record import RunRecord

_INTERRUPTED = 130


def add_command(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="run a scenario", description="Run a scenario and say what came of it.")
    add_run_options(parser)
    parser.set_defaults(action=_run)


def _run(given: argparse.Namespace) -> int:
    # Locust's patches come before anything that connects, so this import is the first that does.
    from nemotron_loadtest.run.runner import run_scenario

    # isort: split
    from nemotron_loadtest.analysis import Window, encode_summary, judge, load_slo, summarise

    scenario = scenario_of(given)
    slo = load_slo(scenario.slo) if scenario.slo else None
    directory = directory_of(given)
    result = run_scenario(scenario, directory=directory, processes=given.processes, metrics_url=given.metrics_url)
    record = result.record
    try:
        summary = summarise(result.samples, Window(scenario.warmup_s, record.measured_until_s), slo)
    except LoadTestError:
        _raise_for(record)
        raise
    (directory / "summary.json").write_bytes(encode_summary(summary))
    say(_described(summary, record, directory))
    _raise_for(record)
    verdict = judge(summary, slo) if slo else None
    if verdict:
        say(_pronounced(verdict, slo))
    if record.ended_by == "interrupt":
        return _INTERRUPTED
    return 1 if verdict and not verdict.passed else 0


def _raise_for(record: RunRecord) -> None:
    if record.ended_by == "failures":
        raise UnreachableError(f"The run has ended early: {record.problem}. What was measured until then is kept.")
    if record.ended_by == "workers":
        raise LoadTestError(f"The run has ended early: {record.problem}. What was measured until then is kept.")


def _described(summary: Summary, record: RunRecord, directory: Path) -> str:
    lines = []
    for name, group in summary.groups.items():
        if group.outcomes.requests and (name == "all" or group.outcomes.requests < summary.all.outcomes.requests):
            lines.append(f"thinking {name}: {group.outcomes.requests} requests, {group.outcomes.errors} failed")
            for metric in ("ttft_ms", "end_to_end_ms"):
                if metric in group.latencies:
                    found = group.distribution(metric)
                    lines.append(f"  {metric}: p50 {_shown(found.p50)}, p99 {_shown(found.p99)}")
            lines += [f"  {metric}: {_shown(value)}" for metric, value in group.figures.items() if value is not None]
    if record.not_sent:
        lines.append(f"{record.not_sent} requests were not sent: max_in_flight was reached.")
    if record.busy:
        lines.append("The load generator used a core up: its times are in doubt. Use --processes.")
    lines.append(f"{directory}")
    return "\n".join(lines)


def _pronounced(verdict: Verdict, slo: Slo | None) -> str:
    head = f"SLO {slo.name if slo else ''}: {'met' if verdict.passed else 'NOT MET'}"
    return "\n".join([head, *(f"  {'ok  ' if clause.passed else 'FAIL'} {clause}" for clause in verdict.clauses)])


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"
