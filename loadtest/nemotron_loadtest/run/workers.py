"""A run by several processes: what Locust's master and its workers tell each other beside Locust's own messages.

master → worker   plan     the scenario, and which part of it is the worker's
worker → master   ready    it can begin, or why it cannot
master → worker   go       when the run starts
worker → master   samples  lines of samples.jsonl, several times a second
master → worker   end      send nothing more, and wait so long for what is on its way
master → worker   hurry    wait no longer
worker → master   done     all samples have been sent

ZeroMQ keeps the order of the messages between two processes. Locust's master takes a worker for ready before that one
has said which messages of ours it knows, and drops those that it does not: so a plan is sent until it is answered.
A worker is this module as a program:
`python -m nemotron_loadtest.run.workers PORT USER`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from nemotron_loadtest.users import patched  # noqa: F401 - before all else

# isort: split
import gevent
import msgspec
from gevent.event import Event
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from nemotron_loadtest.clock import RunClock, Start
from nemotron_loadtest.errors import LoadTestError, ScenarioError, UnreachableError
from nemotron_loadtest.run.load import CUT_S
from nemotron_loadtest.run.sides import OwnSide, Prepared
from nemotron_loadtest.samples import Sample, decode_sample, encode_sample
from nemotron_loadtest.scenario import Scenario, UserKind
from nemotron_loadtest.users.asker import OnSample
from nemotron_loadtest.users.locust_users import USERS

_CONNECT_S = 60.0
_END_S = 5.0
_LOOPBACK = "127.0.0.1"
_PREFIX = "nemotron_"
_SEND_EVERY_S = 0.2
_READY_S = 120.0
_ASK_AGAIN_S = 1.0
_LATE_S = 10.0
"""What the end of a run may take in workers beyond the drain time."""
_ERRORS: dict[str, type[LoadTestError]] = {
    kind.__name__: kind for kind in (LoadTestError, ScenarioError, UnreachableError)
}


class MasterSide:
    """Has workers send. See `Side`.

    Attributes:
        scenario: What the next run does.
    """

    in_flight = None

    def __init__(self, runner: MasterRunner, scenario: Scenario, on_sample: OnSample) -> None:
        self.not_sent = 0
        self.busy = False
        self._runner = runner
        self.scenario = scenario
        self._on_sample = on_sample
        self._waiting_for: set[str] = set()
        self._members: list[str] = []
        self._plans = 0
        self._answers: list[dict[str, Any]] = []
        for name, listener in (("ready", self._answered), ("samples", self._samples), ("done", self._done)):
            _listen(runner, name, listener)

    @property
    def workers(self) -> int:
        """See `Side`."""
        return len(self._members)

    @property
    def lost(self) -> int:
        """See `Side`."""
        return sum(self._is_lost(member) for member in self._members)

    def prepare(self) -> Prepared:
        """See `Side.prepare`."""
        runner = self._runner
        self._members = [client.id for client in runner.clients.all if client.state != STATE_MISSING]
        self._waiting_for, self._answers = set(self._members), []
        self._plans += 1
        plan = {"number": self._plans, "scenario": msgspec.json.encode(self.scenario), "workers": self.workers}
        until = time.monotonic() + _READY_S
        while self._waiting_for:
            if time.monotonic() > until:
                raise LoadTestError(
                    f"{len(self._waiting_for)} of {self.workers} workers are not ready in {_READY_S:g} s"
                )
            for worker, member in enumerate(self._members):
                if member in self._waiting_for:
                    runner.send_message(f"{_PREFIX}plan", plan | {"worker": worker}, client_id=member)
            self._wait(_ASK_AGAIN_S)
        for answer in self._answers:
            if answer["error"]:
                raise _ERRORS[answer["error"]](answer["message"])
        return msgspec.json.decode(self._answers[0]["prepared"], type=Prepared) if self._answers else Prepared()

    def begin(self, clock: RunClock) -> None:
        """See `Side.begin`."""
        self._tell("go", {"start": msgspec.json.encode(clock.start)})

    def end(self, drain_s: float, hurry: Event) -> None:
        """See `Side.end`."""
        self._waiting_for = {member for member in self._members if not self._is_lost(member)}
        self._tell("end", {"drain_s": drain_s})
        if not self._wait(drain_s + CUT_S + _LATE_S, hurry):
            self._tell("hurry", {})
            self._wait(CUT_S + _LATE_S)

    def _tell(self, name: str, data: dict[str, Any]) -> None:
        for member in self._members:
            self._runner.send_message(f"{_PREFIX}{name}", data, client_id=member)

    def _wait(self, seconds: float, hurry: Event | None = None) -> bool:
        """Wait until all have answered who are still there; whether they have."""
        hurry = hurry or Event()
        with gevent.Timeout(seconds, False):
            while self._waiting_for and not hurry.wait(0.02):
                self._waiting_for -= {member for member in self._waiting_for if self._is_lost(member)}
        return not self._waiting_for

    def _is_lost(self, member: str) -> bool:
        client = self._runner.clients.get(member)
        return client is None or client.state == STATE_MISSING

    def _answered(self, message: Message) -> None:
        self._answers.append(message.data)
        self._waiting_for.discard(message.node_id)

    def _samples(self, message: Message) -> None:
        for line in message.data["lines"]:
            self._on_sample(decode_sample(line))

    def _done(self, message: Message) -> None:
        self.not_sent += message.data["not_sent"]
        self.busy = self.busy or message.data["busy"]
        self._waiting_for.discard(message.node_id)


class WorkerSide:
    """Does what the master says."""

    def __init__(self, environment: Environment, runner: WorkerRunner) -> None:
        self._environment = environment
        self._runner = runner
        self._side: OwnSide | None = None
        self._plans = 0
        self._hurry = Event()
        self._lines: list[bytes] = []
        for name, listener in (("plan", self._plan), ("go", self._go), ("end", self._end), ("hurry", self._rush)):
            _listen(runner, name, listener)
        environment.events.test_stopping.add_listener(lambda **_: self._leave(0.0))

    def _plan(self, message: Message) -> None:
        plan, answer = message.data, {"error": "", "message": "", "prepared": b""}
        if plan["number"] == self._plans:
            return
        self._plans = plan["number"]
        scenario = msgspec.json.decode(plan["scenario"], type=Scenario)
        self._hurry, self._lines = Event(), []
        self._side = OwnSide(self._environment, scenario, self._take, worker=plan["worker"], workers=plan["workers"])
        try:
            answer["prepared"] = msgspec.json.encode(self._side.prepare())
        except LoadTestError as error:
            self._side = None
            answer |= {"error": type(error).__name__, "message": str(error)}
        self._tell("ready", answer)

    def _go(self, message: Message) -> None:
        if self._side:
            self._side.begin(RunClock.of(msgspec.json.decode(message.data["start"], type=Start)))
            gevent.spawn(self._send_often)

    def _end(self, message: Message) -> None:
        self._leave(message.data["drain_s"])

    def _leave(self, drain_s: float) -> None:
        """Also when Locust's master has stopped the run, or has gone."""
        if self._side:
            side, self._side = self._side, None
            side.end(drain_s, self._hurry)
            self._send()
            self._tell("done", {"not_sent": side.not_sent, "busy": side.busy})

    def _rush(self, _: Message) -> None:
        self._hurry.set()

    def _take(self, sample: Sample) -> None:
        self._lines.append(encode_sample(sample))

    def _send_often(self) -> None:
        while self._side:
            self._send()
            gevent.sleep(_SEND_EVERY_S)

    def _send(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._tell("samples", {"lines": lines})

    def _tell(self, name: str, data: dict[str, Any]) -> None:
        self._runner.send_message(f"{_PREFIX}{name}", data)


def _listen(runner: MasterRunner | WorkerRunner, name: str, listener: Callable[[Message], None]) -> None:
    # Each in a greenlet of its own would lose the order, so only what waits gets one.
    concurrent = name in ("plan", "end")
    runner.register_message(f"{_PREFIX}{name}", lambda msg, **_: listener(msg), concurrent)


@contextlib.contextmanager
def worker_processes(runner: MasterRunner, user: UserKind, count: int) -> Iterator[None]:
    """So many workers of a master on this machine, until the end of the block.

    Raises:
        LoadTestError: they do not come up.
    """
    command = [sys.executable, "-m", __name__, str(runner.server.port), user]
    # In a session of their own: ctrl-C is for the master, which tells them what to do.
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        until = time.monotonic() + _CONNECT_S
        while len(runner.clients.ready) < count:
            if any(process.poll() is not None for process in processes) or time.monotonic() > until:
                raise LoadTestError(f"{count} worker processes were started, {len(runner.clients.ready)} have come up")
            gevent.sleep(0.02)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def work(port: int, user: UserKind) -> None:
    """Be a worker until the master ends."""
    environment = Environment(user_classes=[USERS[user]])
    runner = environment.create_worker_runner(_LOOPBACK, port)
    WorkerSide(environment, runner)
    gevent.spawn(_end_with, os.getppid())
    runner.greenlet.join()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        gevent.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    work(int(sys.argv[1]), cast("UserKind", sys.argv[2]))
