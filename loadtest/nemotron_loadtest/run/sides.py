"""Who sends the requests of a run: this process, or workers that this one leads."""

from __future__ import annotations

from typing import Protocol

import msgspec
from gevent.event import Event
from locust.env import Environment

from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.run.load import Load
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.scenario import Scenario
from nemotron_loadtest.users.asker import OnSample
from nemotron_loadtest.users.locust_users import give_work, show
from nemotron_loadtest.users.patched import allow_streams
from nemotron_loadtest.users.servers import asker_of, connect, without_secrets
from nemotron_loadtest.workload import open_workload


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once all is ready.

    Attributes:
        urls: The servers, without secrets.
        measured_with: See `RunRecord`.
    """

    urls: tuple[str, ...] = ()
    measured_with: str | None = None


class Side(Protocol):
    """What sends, to the one who conducts the run."""

    @property
    def workers(self) -> int:
        """Processes that send."""

    @property
    def lost(self) -> int:
        """How many of them have gone before the end."""

    @property
    def busy(self) -> bool:
        """Whether one of them used its core up."""

    @property
    def in_flight(self) -> int | None:
        """Requests on their way; None where that is not known here."""

    @property
    def not_sent(self) -> int:
        """See `Load`; final after `end`."""

    def prepare(self) -> Prepared:
        """Do what takes time, the connection to the server included.

        Raises:
            LoadTestError: the scenario cannot be run, or there is no server.
        """

    def begin(self, clock: RunClock) -> None:
        """Send from the start of this clock on."""

    def end(self, drain_s: float, hurry: Event) -> None:
        """Send nothing more; all samples have come when this returns. See `Load.end`."""


class OwnSide:
    """Sends from this process. See `Side`."""

    workers = 1
    lost = 0

    def __init__(
        self, environment: Environment, scenario: Scenario, on_sample: OnSample, *, worker: int = 0, workers: int = 1
    ) -> None:
        self.busy = False
        self._environment = environment
        self._scenario = scenario
        self._on_sample = on_sample
        self._worker, self._of = worker, workers
        self._clock = RunClock(0.0)
        self._load: Load | None = None

    @property
    def in_flight(self) -> int | None:
        """See `Side`."""
        return self._load.in_flight if self._load else 0

    @property
    def not_sent(self) -> int:
        """See `Side`."""
        return self._load.not_sent if self._load else 0

    def prepare(self) -> Prepared:
        """See `Side.prepare`."""
        scenario, worker, workers = self._scenario, self._worker, self._of
        allow_streams(scenario.max_in_flight // workers)
        source = open_workload(scenario)
        server = connect(scenario, source.trial())
        make_asker = asker_of(scenario, server, self._take, str(worker))
        conversations = source.conversations(worker=worker, workers=workers)
        self._load = Load(scenario, conversations, make_asker, worker=worker, workers=workers)
        give_work(self._environment, self._load)
        self._environment.events.cpu_warning.add_listener(self._note_busy)
        urls = tuple(without_secrets(url) for url in server.urls)
        return Prepared(urls=urls, measured_with=source.measured_with)

    def begin(self, clock: RunClock) -> None:
        """See `Side.begin`."""
        self._clock = clock
        if self._load:
            self._load.begin(clock)

    def end(self, drain_s: float, hurry: Event) -> None:
        """See `Side.end`."""
        if self._load:
            self._load.end(drain_s, hurry)
            self._environment.events.cpu_warning.remove_listener(self._note_busy)

    def _take(self, sample: Sample) -> None:
        show(self._environment, sample, self._clock)
        self._on_sample(sample)

    def _note_busy(self, **_: object) -> None:
        self.busy = True
