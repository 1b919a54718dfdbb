"""Runs a scenario, with Locust as a library: `run_scenario(scenario)`."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nemotron_loadtest.users import patched  # noqa: F401 - before all else

# isort: split
import gevent
from locust.env import Environment

from nemotron_loadtest.run.conductor import Conductor, OnMoment
from nemotron_loadtest.run.record import RunRecord
from nemotron_loadtest.run.sides import OwnSide, Side
from nemotron_loadtest.run.workers import MasterSide, worker_processes
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.scenario import ClosedLoop, Scenario
from nemotron_loadtest.users.asker import OnSample
from nemotron_loadtest.users.locust_users import USERS

_STOP_S = 5.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class RunResult:
    """What a run has brought.

    Attributes:
        record: How it went.
        samples: Every request that was sent.
    """

    record: RunRecord
    samples: list[Sample]


def run_scenario(
    scenario: Scenario,
    *,
    on_sample: OnSample | None = None,
    on_moment: OnMoment | None = None,
    on_warning: Callable[[str], None] | None = None,
    directory: Path | None = None,
    processes: int = 1,
    metrics_url: str | None = None,
) -> RunResult:
    """Run a scenario to its end.

    While it runs, ctrl-C stops it and lets running requests end; a second ctrl-C cuts them. Either way there is a
    result. This process then has Locust's patches, so the first import of this module comes before the client's.

    Args:
        scenario: What to do.
        on_sample: Called for every request when it has ended, in a greenlet: it must not block.
        on_warning: Called with a sentence about what the run will lack, at its start.
        on_moment: Called ten times a second while requests are sent, for a live view.
        directory: Where samples and record are written as they come; None writes nothing.
        processes: How many processes send. With 1 it is this one.
        metrics_url: URL of a single server's metrics page; None for what `client_for_metrics` finds.

    Raises:
        LoadTestError: it cannot start.
    """
    samples: list[Sample] = []

    def keep(sample: Sample) -> None:
        samples.append(sample)
        if on_sample:
            on_sample(sample)

    conductor = Conductor(scenario, on_sample=keep, on_warning=on_warning, directory=directory, metrics_url=metrics_url)
    environment = Environment(user_classes=[USERS[scenario.user]], stop_timeout=_STOP_S)
    with _quiet(), _interruptible(conductor), _side(environment, scenario, conductor.take, processes) as side:
        assert environment.runner is not None  # noqa: S101 - made with the side
        environment.events.test_stopping.add_listener(lambda **_: conductor.end())
        try:
            conductor.prepare(side)
            users = users_of(scenario, side.workers)
            environment.runner.start(users, users)
            conductor.begin()
            conductor.wait(on_moment)
        finally:
            environment.runner.quit()
            conductor.end()
    return RunResult(conductor.record, samples)


def users_of(scenario: Scenario, workers: int) -> int:
    """How many of Locust's users a run needs: one for each worker where they have nothing to do."""
    return scenario.arrivals.users if isinstance(scenario.arrivals, ClosedLoop) else workers


@contextlib.contextmanager
def _side(environment: Environment, scenario: Scenario, take: OnSample, processes: int) -> Iterator[Side]:
    if processes == 1:
        environment.create_local_runner()
        yield OwnSide(environment, scenario, take)
        return
    runner = environment.create_master_runner(LOOPBACK, 0)
    with worker_processes(runner, scenario.user, processes):
        yield MasterSide(runner, scenario, take)


@contextlib.contextmanager
def _interruptible(conductor: Conductor) -> Iterator[None]:
    watchers = [gevent.signal_handler(number, conductor.interrupt) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.cancel()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Locust's log is for who runs Locust; ours says what matters of it."""
    logger = logging.getLogger("locust")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
