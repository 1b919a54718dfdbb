"""What one process sends: its share of a scenario's requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event
from gevent.pool import Group

from nemotron_loadtest.arrivals import schedule, think_times, user_starts
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.scenario import ClosedLoop, Scenario
from nemotron_loadtest.users.asker import Asker
from nemotron_loadtest.workload import Conversation, RequestSpec

CUT_S = 2.0
"""How long requests that were cut may take to notice."""
_POLL_S = 0.02


class Load:
    """The requests of one worker among `workers`; together they are those of one worker alone.

    Attributes:
        not_sent: Requests that found `max_in_flight` on their way. They are counted and have no sample.
    """

    def __init__(
        self,
        scenario: Scenario,
        conversations: Iterator[Conversation],
        make_asker: Callable[[RunClock], Asker],
        *,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        """Prepare all that takes time; nothing is sent before `begin`.

        Raises:
            ScenarioError: a trace that cannot be read.
        """
        self.not_sent = 0
        self._scenario = scenario
        self._conversations = conversations
        self._make_asker = make_asker
        self._worker, self._workers = worker, workers
        self._limit = -(-scenario.max_in_flight // workers)
        self._users = 0
        self._starts: Iterator[float] = iter(())
        self._times: Iterator[float] = iter(())
        if isinstance(scenario.arrivals, ClosedLoop):
            self._starts = user_starts(scenario.arrivals, worker=worker, workers=workers)
        else:
            self._times = schedule(
                scenario.arrivals,
                duration_s=scenario.duration_s,
                seed=scenario.seed,
                trace=scenario.trace,
                worker=worker,
                workers=workers,
            )
        self._begun, self._stopped = Event(), Event()
        self._sending = Group()

    @property
    def in_flight(self) -> int:
        """Requests on their way."""
        return self._asker.in_flight if self._begun.is_set() else 0

    def begin(self, clock: RunClock) -> None:
        """Send from now on."""
        self._clock = clock
        self._asker = self._make_asker(clock)
        self._sending.spawn(self._send_on_time)
        self._begun.set()

    def rounds(self) -> Iterator[None]:
        """What one of Locust's users does: in a closed loop a conversation each round, until the end.

        In an open loop nobody's answer is waited for, so its users have nothing to do but to be there.
        """
        self._begun.wait()
        arrivals = self._scenario.arrivals
        if not isinstance(arrivals, ClosedLoop):
            self._stopped.wait()
            return
        user = self._worker + self._workers * self._users
        self._users += 1
        thinking = think_times(arrivals, seed=self._scenario.seed, user=user)
        pause = next(self._starts, 0.0) - self._clock.now()
        while not self._pause(pause) and self._clock.now() < self._scenario.duration_s:
            conversation = next(self._conversations)
            self._converse(conversation, conversation.next_request(), None)
            yield
            pause = next(thinking)

    def end(self, drain_s: float, hurry: Event) -> None:
        """Send nothing more, wait for what is on its way, and cut what is left.

        Args:
            drain_s: How long to wait.
            hurry: Ends the wait.
        """
        self._stopped.set()
        if self._begun.is_set():
            self._wait_for_none(drain_s, hurry)
            self._asker.cut()
            self._wait_for_none(CUT_S, Event())
            self._sending.kill()
            self._asker.close()

    def _send_on_time(self) -> None:
        """Start every request of an open loop when it is due, whatever became of those before."""
        for intended in self._times:
            conversation = next(self._conversations)
            first = conversation.next_request()  # made before it is due
            if self._pause(intended - self._clock.now()):
                return
            self._sending.spawn(self._converse, conversation, first, intended)

    def _converse(self, conversation: Conversation, spec: RequestSpec | None, intended: float | None) -> None:
        while spec is not None and not self._stopped.is_set():
            if self._asker.in_flight >= self._limit:
                self.not_sent += 1
                return
            reply = self._asker.ask(spec, intended)
            spec = conversation.next_request(reply) if reply is not None else None
            if spec is not None:
                intended = self._clock.now() + spec.wait_s
                self._pause(spec.wait_s)

    def _pause(self, seconds: float) -> bool:
        """Wait, and let others run in any case; whether the end has come."""
        if seconds > 0:
            self._stopped.wait(seconds)
        else:
            gevent.sleep(0)
        return bool(self._stopped.is_set())

    def _wait_for_none(self, seconds: float, hurry: Event) -> None:
        until = self._clock.now() + seconds
        while self._asker.in_flight and self._clock.now() < until and not hurry.wait(_POLL_S):
            pass
