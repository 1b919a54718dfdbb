"""Leads a run from its start to its end, whoever sends the requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from gevent.event import Event

from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.run.record import EndedBy, Recorder, new_record
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.scenario import Scenario
from nemotron_loadtest.server import ServerMonitor, ServerSample, Watched
from nemotron_loadtest.users.asker import OnSample
from nemotron_loadtest.users.servers import client_for_metrics

if TYPE_CHECKING:  # a conductor needs no Locust, which patches whoever imports it
    from nemotron_loadtest.run.sides import Side

START_DELAY_S = 0.3
"""From the decision to begin to the start, so that it reaches every worker before."""
_LOOK_EVERY_S = 0.1
_FAILING_S = 5.0
_FAILING_REQUESTS = 3


OnMoment = Callable[[float, int | None], None]
"""Is told the seconds since the start and the requests on their way; None where these are not known."""


class Conductor:
    """One run: `prepare`, `begin`, `wait`, `end`, each once. Samples are given to `take`.

    Args:
        scenario: What to do.
        on_sample: Called with each request that has ended.
        on_warning: Called with a sentence about what the run will lack, at its start.
        directory: Where samples and record are written; None writes nothing.
        metrics_url: URL of a single server's metrics page; None for what `client_for_metrics` finds.

    Attributes:
        record: What is known of the run.
        hurry: Ends the drain at once.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        on_sample: OnSample | None = None,
        on_warning: Callable[[str], None] | None = None,
        directory: Path | None = None,
        metrics_url: str | None = None,
    ) -> None:
        self.hurry = Event()
        self.record = new_record(scenario)
        self._scenario = scenario
        self._on_sample = on_sample
        self._on_warning = on_warning
        self._metrics_pages: dict[str, str] = {}
        self._directory = directory
        self._metrics_url = metrics_url
        self._watching = ExitStack()
        self._recorder: Recorder | None = None
        self._watched: list[Watched] = []
        self._watch = FailureWatch()
        self._stop = Event()
        self._clock: RunClock | None = None
        self._side: Side | None = None

    @property
    def begun(self) -> bool:
        """Whether the start is known."""
        return self._clock is not None

    def prepare(self, side: Side) -> None:
        """Get all ready.

        Raises:
            LoadTestError: there can be no run.
        """
        prepared = side.prepare()
        if not side.workers:
            raise LoadTestError("No worker is connected, expected at least one")
        self._side = side
        self.record = msgspec.structs.replace(
            new_record(self._scenario),
            urls=prepared.urls,
            measured_with=prepared.measured_with,
            workers=side.workers,
        )
        opened = [client_for_metrics(url, self._metrics_url) for url in self.record.urls]
        clients = [self._watching.enter_context(client) for client in opened]
        self._metrics_pages = {client.urls[0]: client.metrics_url for client in clients}
        self._watched = [Watched(client.urls[0], client.metrics) for client in clients]
        if self._directory is not None:
            self._recorder = Recorder(self._directory, self.record)

    def begin(self) -> None:
        """Start the run."""
        assert self._side is not None  # noqa: S101 - prepared
        self._clock = RunClock.starting_in(START_DELAY_S)
        self._side.begin(self._clock)
        self._watching.enter_context(ServerMonitor(self._watched, self._clock.now, self._take_server))

    def take(self, sample: Sample) -> None:
        """A request has ended."""
        if self._recorder:
            self._recorder.write(sample)
        self._watch.see(sample)
        if self._on_sample:
            self._on_sample(sample)

    def interrupt(self) -> None:
        """Stop, and let running requests end; the second time, cut them."""
        if self._stop.is_set():
            self.hurry.set()
        self._stop.set()

    def wait(self, on_moment: OnMoment | None = None) -> None:
        """Return when no more is to be sent.

        Args:
            on_moment: Called ten times a second.
        """
        assert self._clock is not None and self._side is not None  # noqa: S101 - begun
        reason: EndedBy = "duration"
        problem = ""
        while (left := self._scenario.duration_s - self._clock.now()) > 0:
            if on_moment:
                on_moment(self._clock.now(), self._side.in_flight)
            if self._stop.wait(min(left, _LOOK_EVERY_S)):
                reason = "interrupt"
            elif self._watch.hopeless:
                reason, problem = "failures", f"every request fails, the last one with {self._watch.last_error}"
            elif self._side.lost:
                reason, problem = "workers", f"{self._side.lost} of {self._side.workers} workers have gone"
            else:
                continue
            break
        self.record = msgspec.structs.replace(self.record, ended_by=reason, problem=problem)

    def end(self) -> None:
        """Wait for what is on its way, as long as the scenario says, and close the record."""
        if self._side is None:
            return
        side, self._side = self._side, None
        sent_until = self._clock.now() if self._clock else 0.0
        drain_s = 0.0 if self.record.ended_by == "failures" else self._scenario.drain_s
        side.end(drain_s, self.hurry)
        self._watching.close()
        self.record = msgspec.structs.replace(
            self.record,
            ended_by=self.record.ended_by or "interrupt",
            sent_until_s=max(0.0, sent_until),
            not_sent=side.not_sent,
            busy=side.busy,
        )
        if self._recorder:
            self._recorder.close(self.record)

    def _take_server(self, sample: ServerSample) -> None:
        page = self._metrics_pages.pop(sample.server, None)  # said once, at the first look
        if page and not sample.scraped and self._on_warning:
            self._on_warning(
                f"The metrics of {sample.server} cannot be read from {page}: the report will lack what the server says "
                "of its queue and KV cache. Name the page with --metrics-url."
            )
        if self._recorder:
            self._recorder.write_server(sample)


class FailureWatch:
    """Looks whether every request fails, for some seconds. A server that is only full is one that works.

    Attributes:
        last_error: Type of the last error.
    """

    def __init__(self, seconds: float = _FAILING_S, requests: int = _FAILING_REQUESTS) -> None:
        """How long, and how often at least."""
        self.last_error = ""
        self._seconds = seconds
        self._requests = requests
        self._count = 0
        self._first_s = self._last_s = 0.0

    def see(self, sample: Sample) -> None:
        """Take a sample into account."""
        if sample.outcome == "error" and sample.error_type != "OverloadedError":
            self._first_s = self._first_s if self._count else sample.ended_s
            self._last_s = max(self._last_s, sample.ended_s)
            self._count += 1
            self.last_error = sample.error_type
        elif sample.outcome != "incomplete":
            self._count = 0

    @property
    def hopeless(self) -> bool:
        """Whether nothing else is to be expected."""
        return self._count >= self._requests and self._last_s - self._first_s >= self._seconds
