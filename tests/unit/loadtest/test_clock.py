"""Processes agree on the time of a run."""

from __future__ import annotations

import time

import pytest

from nemotron_loadtest import clock
from nemotron_loadtest.clock import RunClock, Start


def test_seconds_since_the_start() -> None:
    before = time.perf_counter()
    run = RunClock.starting_in(1.0)
    assert -1.001 <= run.now() <= time.perf_counter() - before - 1.0
    assert run.now() <= run.at(time.perf_counter()) <= run.now()


def test_on_one_machine_the_clock_is_the_same() -> None:
    run = RunClock.starting_in(1.0)
    assert RunClock.of(run.start) == run


@pytest.mark.parametrize("boot", ["another machine", ""])
def test_another_machine_goes_by_wall_time(boot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunClock.starting_in(1.0)
    monkeypatch.setattr(clock, "_boot", lambda: boot)
    start = Start(boot="this machine" if boot else "", zero=run.zero + 1e6, wall=run.start.wall)
    assert RunClock.of(start).zero == pytest.approx(run.zero, abs=10)
