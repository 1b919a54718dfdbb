"""Runs a scenario with a live view, and says why a run has ended early."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_loadtest.errors import LoadTestError, UnreachableError

if TYPE_CHECKING:
    from nemotron_loadtest.run.record import RunRecord
    from nemotron_loadtest.run.runner import RunResult
    from nemotron_loadtest.scenario import Scenario


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
    from nemotron_loadtest.scenario import ClosedLoop

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
