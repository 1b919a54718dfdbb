"""`nemotron-bench sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nemotron_loadtest.cli.options import above_zero, add_run_options, directory_of, say, scenario_of, whole
from nemotron_loadtest.cli.running import complain_of, run_visibly
from nemotron_loadtest.errors import ScenarioError

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Capacity, Verdict
    from nemotron_loadtest.report import SweepPoint

SWEEP_FILE = "sweep.json"


def add_command(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="find the highest rate that meets an SLO",
        description="Run a scenario at several Poisson rates, and find the highest that still meets its SLO.",
    )
    add_run_options(parser)
    parser.add_argument("--low", metavar="RATE", type=above_zero, required=True, help="requests/s thought to pass")
    parser.add_argument("--high", metavar="RATE", type=above_zero, required=True, help="the highest rate to try")
    parser.add_argument("--tolerance", metavar="SHARE", type=above_zero, default=0.03, help="(default: %(default)s)")
    parser.add_argument("--repeats", metavar="N", type=whole(1), default=3, help="(default: %(default)s)")
    parser.set_defaults(action=_sweep)


def _sweep(given: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import Window, find_capacity, judge, load_slo, summarise
    from nemotron_loadtest.arrivals import Poisson
    from nemotron_loadtest.report import Sweep, report_of, sweep_point, write_report

    scenario = scenario_of(given)
    if scenario.slo is None:
        raise ScenarioError("A sweep needs an SLO, expected --slo NAME or `slo` in the scenario")
    slo = load_slo(scenario.slo)
    directory = directory_of(given)
    points: list[SweepPoint] = []
    runs: list[Path] = []

    def run_at_rate(rate: float) -> Verdict:
        runs.append(directory / f"{len(runs) + 1:02}-{rate:.4g}")
        result = run_visibly(given, msgspec.structs.replace(scenario, arrivals=Poisson(rate=rate)), runs[-1])
        if result.record.ended_by == "interrupt":
            raise KeyboardInterrupt
        complain_of(result.record)
        summary = summarise(result.samples, Window(scenario.warmup_s, scenario.duration_s), slo)
        verdict = judge(summary, slo)
        points.append(sweep_point(rate, summary, verdict))
        say(f"{rate:8.4g}/s  {'ok' if verdict.passed else '; '.join(verdict.failures)}")
        return verdict

    capacity = find_capacity(run_at_rate, given.low, given.high, tolerance=given.tolerance, repeats=given.repeats)
    sweep = Sweep(slo=slo.name, capacity=capacity, points=tuple(points))
    (directory / SWEEP_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(sweep), indent=2))
    say(_described(capacity, slo.name))
    shown = next(
        (run for run, point in zip(runs, points, strict=True) if point.rate_per_s == capacity.rate_per_s), runs[-1]
    )
    report, samples = report_of(shown, title=directory.name, slo=slo, sweep=sweep)
    say(str(write_report(report, samples, directory)))
    return 0 if capacity.rate_per_s is not None else 1


def _described(capacity: Capacity, slo: str) -> str:
    if capacity.rate_per_s is None:
        head = f"No rate meets the SLO {slo}."
    else:
        head = f"The SLO {slo} is met up to {capacity.rate_per_s:.4g} requests/s."
    stable = [] if capacity.stable else ["The result is NOT STABLE:"]
    return "\n".join([head, *stable, *(f"  {reason}" for reason in capacity.reasons)])
