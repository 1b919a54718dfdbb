"""`nemotron-bench sweep`, and `nemotron-bench capacity`, which plans by what a sweep has found."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from nemotron_loadtest.capacity import DEFAULT_HEADROOM
from nemotron_loadtest.cli.options import above_zero, add_run_options, directory_of, say, scenario_of, whole
from nemotron_loadtest.cli.run import complain_of, run_visibly
from nemotron_loadtest.errors import LoadTestError, ScenarioError
from nemotron_loadtest.scaling import Autoscaler, chart_values

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Capacity, Slo, Verdict
    from nemotron_loadtest.report import SweepPoint
    from nemotron_loadtest.scenario import Scenario


def add_sweep(commands: Any) -> None:
    """Add the command `sweep`."""
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
    parser.add_argument(
        "--max-runs", metavar="N", type=whole(1), default=30, help="the search stops then (default: %(default)s)"
    )
    parser.set_defaults(action=_sweep)


def add_capacity(commands: Any) -> None:
    """Add the command `capacity`."""
    parser = commands.add_parser(
        "capacity",
        help="say how many replicas a traffic needs",
        description="How many replicas a traffic needs, from a sweep of one. It is also put into the sweep's report.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="of the sweep")
    peak = parser.add_mutually_exclusive_group(required=True)
    peak.add_argument("--peak", metavar="RATE", type=above_zero, help="requests/s at the busiest time")
    peak.add_argument("--users", metavar="N", type=whole(1), help="users at the busiest time, who wait for each answer")
    parser.add_argument(
        "--think-seconds",
        metavar="X",
        type=above_zero,
        help="with --users: seconds between an answer and the next question, on average",
    )
    parser.add_argument(
        "--headroom", metavar="SHARE", type=above_zero, default=DEFAULT_HEADROOM, help="(default: %(default)s)"
    )
    parser.add_argument("--thinking-share", metavar="SHARE", type=_share, help="of the requests (default: as measured)")
    parser.add_argument("--plan", metavar="FILE", type=Path, help="output of 'nemotron-build plan --json'")
    parser.add_argument("--values", metavar="FILE", type=Path, help="write values for the Helm chart, in YAML")
    parser.add_argument(
        "--autoscaler",
        choices=get_args(Autoscaler),
        default="hpa",
        help="in these values; none has as many replicas all the time (default: %(default)s)",
    )
    parser.set_defaults(action=_capacity)


def _sweep(given: argparse.Namespace) -> int:
    from nemotron_loadtest.analysis import find_capacity, load_slo

    scenario = scenario_of(given)
    if scenario.slo is None:
        raise ScenarioError("A sweep needs an SLO, expected --slo NAME or `slo` in the scenario")
    runs = _Runs(given, scenario, load_slo(scenario.slo), directory_of(given))
    capacity = find_capacity(
        runs.run_at_rate,
        given.low,
        given.high,
        tolerance=given.tolerance,
        repeats=given.repeats,
        max_runs=given.max_runs,
    )
    runs.report(capacity)
    if runs.stopped_by is not None:
        raise runs.stopped_by
    return 0 if capacity.rate_per_s is not None else 1


def _capacity(given: argparse.Namespace) -> int:
    from rich.console import Console

    from nemotron_loadtest.capacity import Demand, demand_of_users, load_plan, plan_capacity
    from nemotron_loadtest.report import add_capacity, capacity_table, read_sweep

    if (given.users is None) != (given.think_seconds is None):
        raise LoadTestError(
            "--users and --think-seconds go together: how many ask, and how long each waits to ask again."
        )
    replica = read_sweep(given.directory).replica()
    if given.users is None:
        demand = Demand(peak_per_s=given.peak, headroom=given.headroom, thinking_share=given.thinking_share)
    else:
        demand = demand_of_users(replica, given.users, given.think_seconds, given.headroom, given.thinking_share)
    plan = plan_capacity(replica, demand, load_plan(given.plan) if given.plan else None)
    page = add_capacity(plan, given.directory)
    Console().print(capacity_table(plan))
    say(str(page))
    if given.values and plan.scaling:
        reasons = (f"By 'nemotron-bench capacity', for {demand.peak_per_s:.4g} requests/s at peak:", *plan.arithmetic)
        try:
            given.values.write_text(chart_values(plan.scaling, given.autoscaler, reasons=reasons), encoding="utf-8")
        except OSError as error:
            raise LoadTestError(f"{given.values}: {error.strerror}. Name a file to write to with --values.") from error
        say(str(given.values))
    return 0


class _Runs:
    """The runs of a sweep.

    Attributes:
        stopped_by: What ended the search before its time.
    """

    def __init__(self, given: argparse.Namespace, scenario: Scenario, slo: Slo, directory: Path) -> None:
        self.stopped_by: KeyboardInterrupt | LoadTestError | None = None
        self._given = given
        self._scenario = scenario
        self._slo = slo
        self._directory = directory
        self._points: list[SweepPoint] = []
        self._runs: list[Path] = []

    def run_at_rate(self, rate: float) -> Verdict | None:
        """Run and judge; None if the run was cut short."""
        from nemotron_loadtest.analysis import judge, summarise
        from nemotron_loadtest.metrics import Window
        from nemotron_loadtest.report import sweep_point
        from nemotron_loadtest.scenario import Poisson

        number = len(self._runs) + 1
        # With the same seed a repeat would meet the same luck, and find its prompts in the server's prefix cache.
        scenario = msgspec.structs.replace(
            self._scenario, arrivals=Poisson(rate=rate), seed=self._scenario.seed + number - 1
        )
        self._runs.append(self._directory / f"{number:02}-{rate:.4g}")
        try:
            result = run_visibly(self._given, scenario, self._runs[-1])
            if result.record.ended_by == "interrupt":
                raise KeyboardInterrupt
            complain_of(result.record)
        except (KeyboardInterrupt, LoadTestError) as error:
            self.stopped_by = error
            return None
        summary = summarise(result.samples, Window(scenario.warmup_s, scenario.duration_s), self._slo)
        verdict = judge(summary, self._slo)
        self._points.append(sweep_point(rate, summary, verdict))
        say(f"{rate:8.4g}/s  {'ok' if verdict.passed else '; '.join(verdict.failures)}")
        return verdict

    def report(self, capacity: Capacity) -> None:
        """Write what was found, around the report of the run at the capacity, else of the last whole one."""
        from nemotron_loadtest.report import Sweep, report_of, write_report, write_sweep

        if not self._points:
            with suppress(LoadTestError):  # nothing was measured, and why is said next
                say(str(write_report(*report_of(self._runs[-1], slo=self._slo), self._runs[-1])))
            return
        sweep = Sweep(slo=self._slo.name, capacity=capacity, points=tuple(self._points))
        write_sweep(sweep, self._directory)
        say(_described(capacity, self._slo.name))
        whole = self._runs[: len(self._points)]
        found = [
            run
            for run, point in zip(whole, self._points, strict=True)
            if point.passed and point.rate_per_s == capacity.rate_per_s
        ]
        shown = found[0] if found else whole[-1]
        report, samples = report_of(shown, title=self._directory.name, slo=self._slo, sweep=sweep)
        say(str(write_report(report, samples, self._directory)))


def _described(capacity: Capacity, slo: str) -> str:
    if capacity.rate_per_s is None:
        head = f"No rate meets the SLO {slo}."
    else:
        head = f"The SLO {slo} is met up to {capacity.rate_per_s:.4g} requests/s."
    stable = [] if capacity.stable else ["The result is NOT STABLE:"]
    return "\n".join([head, *stable, *(f"  {reason}" for reason in capacity.reasons)])


def _share(text: str) -> float:
    """Reads a share."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number from 0 to 1")
    return value
