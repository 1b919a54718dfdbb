"""What one process sends and when, with a stand-in for the users. Nothing is patched: only greenlets run here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import msgspec
import pytest
from gevent.event import Event

from nemotron_client import Reply, Timings, Usage
from nemotron_loadtest.arrivals import schedule
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.run.load import Load
from nemotron_loadtest.scenario import ClosedLoop, Constant, Poisson, Scenario
from nemotron_loadtest.workload import Conversation, RequestSpec

LONG_S = 60.0  # nobody waits for it
REPLY = Reply("Hi.", "", (), "stop", False, Usage(1, 1, 0), Timings(0.1), "r")


class Talk:
    """A conversation of so many turns."""

    def __init__(self, number: int, turns: int, wait_s: float) -> None:
        self._left = [
            RequestSpec(conversation=number, turn=turn, wait_s=wait_s if turn else 0) for turn in range(turns)
        ]

    def next_request(self, previous: Reply | None = None) -> RequestSpec | None:
        del previous
        return self._left.pop(0) if self._left else None


class Users:
    """Takes the place of the users: answers after some time, or when it is cut."""

    def __init__(self, clock: RunClock, takes: Callable[[RequestSpec], float]) -> None:
        self.asked: list[tuple[int, int, float | None, float]] = []
        self.in_flight = self.most_in_flight = 0
        self.cuts = 0
        self.closed = False
        self._clock = clock
        self._takes = takes
        self._cut = Event()

    def ask(self, spec: RequestSpec, intended_s: float | None = None) -> Reply | None:
        self.asked.append((spec.conversation, spec.turn, intended_s, self._clock.now()))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        cut = self._cut.wait(self._takes(spec))
        self.in_flight -= 1
        return None if cut else REPLY

    def cut(self) -> None:
        self.cuts += self.in_flight
        self._cut.set()

    def close(self) -> None:
        self.closed = True


class Run:
    """A load and its users."""

    def __init__(self, scenario: Scenario, takes: float = 0.01, turns: int = 1, **place: int) -> None:
        def talks() -> Iterator[Conversation]:
            numbers = itertools.count(place.get("worker", 0), place.get("workers", 1))
            return (Talk(number, turns, 0.05) for number in numbers)

        def make(clock: RunClock) -> Any:
            self.users = Users(clock, lambda _: takes)
            return self.users

        self.load = Load(scenario, talks(), make, **place)

    def go(self, count: int, drain_s: float = 60.0, users: int = 0, hurry: Event | None = None) -> None:
        """Run until so many requests were due, with so many of Locust's users."""
        for _ in range(users):
            gevent.spawn(list, self.load.rounds())
        self.load.begin(RunClock.starting_in(0))
        with gevent.Timeout(30):
            while len(self.users.asked) + self.load.not_sent < count:
                gevent.sleep(0.01)
        self.load.end(drain_s, hurry or Event())


def open_loop(rate: float, **changes: Any) -> Scenario:
    return Scenario(duration_s=0.5, warmup_s=0, arrivals=Constant(rate=rate), **changes)


def test_an_open_loop_does_not_wait_for_answers() -> None:
    run = Run(open_loop(100), takes=LONG_S)
    run.go(50, drain_s=0)
    intended = [asked[2] for asked in run.users.asked]
    assert intended == pytest.approx([number / 100 for number in range(50)])
    assert all(started >= when for _, _, when, started in run.users.asked if when is not None)
    assert (run.load.not_sent, run.users.cuts, run.users.closed) == (0, 50, True)


def test_requests_beyond_the_limit_are_counted_not_sent() -> None:
    run = Run(open_loop(100, max_in_flight=10), takes=LONG_S)
    run.go(50, drain_s=0)
    assert (len(run.users.asked), run.load.not_sent) == (10, 40)


def test_the_workers_together_are_one() -> None:
    scenario = Scenario(duration_s=0.5, warmup_s=0, seed=3, arrivals=Poisson(rate=80))
    alone = list(schedule(scenario.arrivals, duration_s=0.5, seed=3))  # type: ignore[arg-type]
    asked = []
    for worker in range(3):
        run = Run(scenario, worker=worker, workers=3)
        run.go(len(alone[worker::3]))
        asked += run.users.asked
    assert sorted(when for _, _, when, _ in asked if when is not None) == alone
    assert sorted(conversation for conversation, *_ in asked) == list(range(len(alone)))


def test_further_turns_follow_the_answer() -> None:
    run = Run(open_loop(2), takes=0.02, turns=3)
    run.go(3)
    turns = [(turn, started) for _, turn, _, started in run.users.asked]
    assert [turn for turn, _ in turns] == [0, 1, 2]
    assert turns[1][1] - turns[0][1] >= 0.07


def test_a_closed_loop_waits_for_its_answers() -> None:
    scenario = Scenario(duration_s=60, warmup_s=0, arrivals=ClosedLoop(users=3))
    run = Run(scenario, takes=0.02)
    run.go(12, users=3)
    assert run.users.most_in_flight <= 3
    assert all(intended is None for _, _, intended, _ in run.users.asked)


def test_users_of_a_closed_loop_start_one_after_the_other() -> None:
    scenario = Scenario(duration_s=60, warmup_s=0, arrivals=ClosedLoop(users=4, ramp_up_s=0.4))
    run = Run(scenario, takes=LONG_S)
    run.go(4, drain_s=0, users=4)
    assert all(started >= 0.1 * number for number, (*_, started) in enumerate(run.users.asked))


def test_what_is_left_after_the_drain_is_cut() -> None:
    run = Run(open_loop(20), takes=LONG_S)
    begin = RunClock.starting_in(0)
    run.go(4, drain_s=0.2)
    assert begin.now() < LONG_S / 5
    assert (run.users.cuts, run.users.in_flight) == (len(run.users.asked), 0)


def test_nobody_waits_for_who_is_in_a_hurry() -> None:
    hurry = Event()
    gevent.spawn_later(0.3, hurry.set)
    run = Run(open_loop(20), takes=LONG_S)
    begin = RunClock.starting_in(0)
    run.go(4, drain_s=LONG_S, hurry=hurry)
    assert begin.now() < LONG_S / 5


def test_nothing_is_sent_before_it_begins() -> None:
    run = Run(open_loop(20))
    run.load.end(1, Event())
    assert not hasattr(run, "users")


def test_the_limit_is_shared_by_the_workers() -> None:
    scenario = msgspec.structs.replace(open_loop(100), max_in_flight=10)
    run = Run(scenario, takes=LONG_S, worker=1, workers=2)
    run.go(25, drain_s=0)
    assert (len(run.users.asked), run.load.not_sent) == (5, 20)
