"""What goes out: responses to callers of their own, and frames to sessions. All of it on the service's one thread."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from nemotron_serving.clock import Clock
from nemotron_serving.errors import ServingError, UnavailableError
from nemotron_serving.generation.queueing import DueResponses, Pace
from nemotron_serving.generation.response import Sink
from nemotron_serving.generation.session import Session, Sessions
from nemotron_serving.generation.stream import Outlet, Stream

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class OwnOutlet:
    """See `Outlet`: of a stream whose caller gets nothing else by it."""

    # By benchmarks/responses.py: 0.66 to 0.88 ms in all processes, for 0.11 to 0.14 ms of the pump's.
    cpu_ratio: ClassVar[float] = 6.5

    sink: Sink
    stream: Stream | None = None

    def add(self, stream: Stream) -> None:
        """See `Outlet.add`."""
        self.stream = stream

    def remove(self, stream: Stream) -> None:
        """See `Outlet.remove`."""
        if self.stream is stream:
            self.stream = None

    @property
    def empty(self) -> bool:
        """See `Outlet.empty`."""
        return self.stream is None

    @property
    def full(self) -> bool:
        """See `Outlet.full`."""
        return False

    def send_news(self) -> list[Stream]:
        """See `Outlet.send_news`."""
        stream = self.stream
        if stream is None:
            return []
        try:
            for response in stream.take_responses():
                self.sink.send(response)
        except Exception:
            # The receiver is gone in a way that Triton did not tell before.
            _log.exception("request %r (stream %d): response not delivered", stream.client_id, stream.stream_id)
            stream.end("cancelled")
        return [stream] if stream.finished else []

    def is_cancelled(self) -> bool:
        """See `Outlet.is_cancelled`; callers of the ensemble are postprocessing's to see, see `leaving`."""
        return self.stream is not None and self.stream.settings.output is None and self.sink.is_cancelled()


class Delivery:
    """Sends what is new when its time has come, and ends sessions.

    Args:
        sessions: Those that are open.
        clock: Gives the time.
        pace: Of a stream's responses, and of a session's frames.
        leave: Called for each stream whose end was told, or that nobody hears any more.
    """

    def __init__(
        self,
        sessions: Sessions,
        clock: Clock,
        pace: Pace,
        leave: Callable[[Stream], None],
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._leave = leave
        self._pace = pace
        self._due: DueResponses[Outlet] = DueResponses(pace)
        self._outlets: set[Outlet] = set()  # those with streams that had news

    def next_time(self) -> float:
        """When something may go out; infinite if there is nothing."""
        return self._due.next_time()

    def schedule(self, stream: Stream) -> None:
        """Have what is new of a stream go out: its beginning and its end soon, the rest when its time has come."""
        if stream.has_news and (stream.finished or stream.settings.stream):
            self._outlets.add(stream.outlet)
            soon = stream.finished or not stream.has_responses
            self._due.push(stream.outlet, len(self._outlets), soon=soon)

    def send_due(self, now: float) -> None:
        """Send all whose time has come."""
        while (outlet := self._due.pop(now)) is not None:
            if isinstance(outlet, Session):
                self._with(outlet, functools.partial(self._send, outlet))
            else:
                self._send(outlet)

    def begin(self, session: Session) -> None:
        """Tell the client its key."""
        self._with(session, session.begin)

    def acknowledge(self, session: Session, number: int) -> None:
        """The client has read the frames up to this one: more may go out."""
        waits = session.full and session in self._outlets
        session.acknowledge(number)
        if waits:
            self._due.push(session, len(self._outlets))

    def look_at_sessions(self, now: float, *, leaving: bool, draining: bool, cancelling: bool) -> None:
        """End those whose client has left or reads no more; tell others of a drain, or one that is worn, and end it.

        While the server is leaving, clients are told to open others, which may be elsewhere.
        """
        for session in self._sessions:
            if session.reads_no_more or (cancelling and session.full):
                error = "This session was ended, for its frames were not acknowledged; open a new one, and read faster."
                self.end(session, UnavailableError(error))
            elif session.has_left(now):
                self.end(session)
            elif draining or session.worn or (leaving and session.settled):
                self._with(session, session.tell_of_drain)
                if session.empty and (draining or session.takes_no_more):
                    self.end(session)

    def end(self, session: Session, error: ServingError | None = None) -> None:
        """End a session, if it has not. Its streams end, and nobody is told any more of each."""
        if not self._sessions.remove(session):
            return
        for stream in session.end(error):
            stream.end("cancelled")
            self.left(stream)
        self._forget(session)

    def end_all(self) -> None:
        """End all sessions."""
        for session in self._sessions:
            self.end(session)

    def left(self, stream: Stream) -> None:
        """A stream needs its place no more."""
        self._leave(stream)
        if stream.outlet.empty:
            self._forget(stream.outlet)

    def _send(self, outlet: Outlet) -> None:
        if outlet.full:  # it comes again when it has room
            return
        began, cpu_s = self._clock.monotonic(), self._clock.thread_time()
        for stream in outlet.send_news():
            self.left(stream)
        now = self._clock.monotonic()
        self._pace.sent(now - began, outlet.cpu_ratio * (self._clock.thread_time() - cpu_s))
        if outlet in self._outlets:
            self._due.sent(outlet, now)

    def _forget(self, outlet: Outlet) -> None:
        self._outlets.discard(outlet)
        self._due.forget(outlet)

    def _with(self, session: Session, action: Callable[[], None]) -> None:
        """Have a session send something; one that cannot any more is over."""
        try:
            action()
        except Exception:
            _log.exception("session: frame not delivered")
            self.end(session)
