"""`nemotron-bench sweep`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import msgspec

from nemotron_loadtest.cli.options import above_zero, add_run_options, directory_of, say, scenario_of, whole
from nemotron_loadtest.errors import LoadTestError, ScenarioError, UnreachableError

if TYPE_CHECKING:
    from nemotron_loadtest.analysis import Capacity, Verdict


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
    # Locust's patches come before anything that connects, so this import is the first that does.
    from nemotron_loadtest.run.runner import run_scenario

    # isort: split
    from nemotron_loadtest.analysis import Window, find_capacity, judge, load_slo, summarise
    from nemotron_loadtest.arrivals import Poisson

    scenario = scenario_of(given)
    if scenario.slo is None:
        raise ScenarioError("A sweep needs an SLO, expected --slo NAME or `slo` in the scenario")
    slo = load_slo(scenario.slo)
    directory = directory_of(given)
    runs: list[float] = []

    def run_at_rate(rate: float) -> Verdict:
        runs.append(rate)
        result = run_scenario(
            msgspec.structs.replace(scenario, arrivals=Poisson(rate=rate)),
            directory=directory / f"{len(runs):02}-{rate:.4g}",
            processes=given.processes,
            metrics_url=given.metrics_url,
        )
        record = result.record
        if record.ended_by == "interrupt":
            raise KeyboardInterrupt
        if record.ended_by != "duration":
            kind = UnreachableError if record.ended_by == "failures" else LoadTestError
            raise kind(f"The run at {rate:.4g}/s has ended early: {record.problem}")
        window = Window(scenario.warmup_s, record.measured_until_s)
        verdict = judge(summarise(result.samples, window, slo), slo)
        say(f"{rate:8.4g}/s  {'ok' if verdict.passed else '; '.join(verdict.failures)}")
        return verdict

    capacity = find_capacity(run_at_rate, given.low, given.high, tolerance=given.tolerance, repeats=given.repeats)
    (directory / "sweep.json").write_bytes(msgspec.json.format(msgspec.json.encode(capacity), indent=2))
    say(_described(capacity, slo.name))
    return 0 if capacity.rate_per_s is not None else 1


def _described(capacity: Capacity, slo: str) -> str:
    if capacity.rate_per_s is None:
        head = f"No rate meets the SLO {slo}."
    else:
        head = f"The SLO {slo} is met up to {capacity.rate_per_s:.4g} requests/s."
    stable = [] if capacity.stable else ["The result is NOT STABLE:"]
    return "\n".join([head, *stable, *(f"  {reason}" for reason in capacity.reasons)])
