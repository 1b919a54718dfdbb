"""Which session a request rides on, and whether one does. Does no I/O."""

from __future__ import annotations

import functools
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from nemotron_client._defaults import CONNECT_TIMEOUT_S, SESSION_AGE_JITTER, SESSION_ANSWER_S
from nemotron_client._transports.base import Call, Connection
from nemotron_client._transports.session_codec import Outcome, Session, Terms
from nemotron_client._transports.session_request import SessionRequest

# A stream has one set of headers. So many sets have sessions at the same time, and one gives way after so long.
_GROUPS = 4
_GROUP_IDLE_S = 60.0
# A server that has no sessions is asked again after so long, or once its connection was lost.
_WITHOUT_S = 60.0
# A trace has one span for each request, so its headers cannot be those of a stream.
_TRACE = ("traceparent", "tracestate")

S = TypeVar("S", bound=Session)


@dataclass
class _Group(Generic[S]):
    """The sessions whose requests have the same headers and compression.

    They open one after the other: a balancer that counts streams does not see those that are being opened, and would
    have several at the same server.

    Attributes:
        sessions: Those that take requests.
        leaving: Those that take none any more, and have not ended.
        to_start: Those of `sessions` that wait for others to open.
        used_at: When it was used last.
    """

    sessions: list[S] = field(default_factory=list)
    leaving: list[S] = field(default_factory=list)
    to_start: deque[S] = field(default_factory=deque)
    used_at: float = 0.0

    @property
    def is_opening(self) -> bool:
        """Whether one is to stand that does not yet."""
        return any(not one.key and not one.over for one in self.sessions)

    def look(self, now: float) -> None:
        """See which sessions take requests still, and let the one go that is the longest over its age."""
        if not self.is_opening and not self.leaving:
            oldest = min(self.sessions, key=lambda one: one.terms.retires_at, default=None)
            if oldest is not None and now >= oldest.terms.retires_at:
                oldest.retire()
        self.leaving = [one for one in (*self.leaving, *self.sessions) if not one.accepting and not one.over]
        self.sessions = [one for one in self.sessions if one.accepting]

    def has_room(self, most: int) -> bool:
        """Whether another one may open, of so many.

        One that is leaving keeps its place: a balancer counts it until it has ended, so another one would come to a
        server that has enough. But half of them take requests.
        """
        return len(self.sessions) + len(self.leaving) < most or len(self.sessions) < (most + 1) // 2


class SessionPool(Generic[S]):
    """The sessions of one transport. Knows nothing of the transport, whose end therefore is noticed."""

    def __init__(
        self,
        make: Callable[[Terms], S],
        url: str,
        connection: Connection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            make: Makes a session, which is not started yet.
            url: The server.
            connection: How many there are, how old one gets, and how long one takes to connect.
            clock: Gives seconds.
        """
        self._make = make
        self._url = url
        self._most = connection.sessions
        self._max_age_s = connection.session_max_age_s
        self._patience_s = (connection.connect_timeout_s or CONNECT_TIMEOUT_S) + SESSION_ANSWER_S
        self._clock = clock
        self._lock = threading.Lock()
        self._groups: dict[object, _Group[S]] = {}
        self._open: set[S] = set()  # those that take requests, and those that only end
        self._without_until = 0.0
        self._requests: weakref.WeakValueDictionary[str, SessionRequest] = weakref.WeakValueDictionary()

    def add(self, request: SessionRequest) -> bool:
        """Let a request ride on a session, an open one or a new one; whether it does. Else it goes the ensemble way."""
        call = request.call
        with self._lock:
            session = self._session(call)
            if session is None or not session.add(request):
                # Another one of this name may ride: whoever stops by the name means both.
                self._requests.pop(call.request_id, None)
                return False
            self._requests[call.request_id] = request
            return True

    def stop(self, call: Call, done: Callable[[], None]) -> bool:
        """Send a stop on the session on which its request rides, or has done so.

        Args:
            call: The stop.
            done: Called once when the server has answered, or needs not be asked.

        Returns:
            Whether that does; else the stop has to be sent outside of sessions.
        """
        request = self._riding(call)
        if request is not None:
            request.stop(done)
        return request is not None

    def ask(self, call: Call, heard: Callable[[dict[str, Any]], None]) -> bool:
        """Send a question about a request on the session on which that rides.

        Args:
            call: The question, with the request's id.
            heard: Called once with the outputs of the answer; with none where the request is over.

        Returns:
            Whether that does; else the question has to be sent outside of sessions.
        """
        request = self._riding(call)
        if request is not None:
            request.ask(call, heard)
        return request is not None

    def connection_lost(self) -> None:
        """The server may be another one when it answers again."""
        self._without_until = 0.0

    def sessions(self) -> list[S]:
        """All that are open."""
        with self._lock:
            return [one for one in self._open if not one.over]

    def abandon(self) -> None:
        """End all, without waiting: the transport has gone. Called by a finalizer, in any thread; takes no lock."""
        for session in list(self._open):
            session.abandon()

    def _riding(self, call: Call) -> SessionRequest | None:
        """The request with this call's id, where the call can go the same way."""
        request = self._requests.get(call.request_id)
        if request is None or request.elsewhere or request.lost:  # of a loss the server may not know yet
            return None
        # Else its session is another caller's.
        return request if _session_headers(call) == _session_headers(request.call) else None

    def _session(self, call: Call) -> S | None:
        now = self._clock()
        if not self._most or now < self._without_until:
            return None
        group = self._group(_kind(call), now)
        if group is None:
            return None
        group.used_at = now
        group.look(now)
        self._open = {one for one in self._open if not one.over}
        least = min(group.sessions, key=lambda one: len(one.requests), default=None)
        if least is not None and (not least.requests or not group.has_room(self._most)):
            return least
        session = self._make(self._terms(call, now, group))
        if group.is_opening:
            group.to_start.append(session)
        else:
            try:
                session.start()
            except RuntimeError:
                return None
        group.sessions.append(session)
        self._open.add(session)
        return session

    def _group(self, kind: object, now: float) -> _Group[S] | None:
        if kind not in self._groups:
            if len(self._groups) >= _GROUPS:
                oldest = min(self._groups, key=lambda one: self._groups[one].used_at)
                if now < self._groups[oldest].used_at + _GROUP_IDLE_S:
                    return None
                for session in self._groups.pop(oldest).sessions:
                    session.retire()
            self._groups[kind] = _Group()
        return self._groups[kind]

    def _terms(self, call: Call, now: float, group: _Group[S]) -> Terms:
        age_s = self._max_age_s * (1 - SESSION_AGE_JITTER * random.random())  # noqa: S311 - no secret
        return Terms(
            url=self._url,
            headers=_session_headers(call),
            compression=call.compression,
            retires_at=now + age_s,
            patience_s=self._patience_s,
            settled=functools.partial(self._settled, group),
        )

    def _settled(self, group: _Group[S], outcome: Outcome) -> None:
        """One has opened, or has not: the next ones may."""
        if outcome is Outcome.WITHOUT:
            self._without_until = self._clock() + _WITHOUT_S
        with self._lock:
            waiting = [one for one in group.to_start if not one.over]
            # Where one fails others would, too, and their requests have waited for it.
            count = 1 if outcome is Outcome.STANDS else len(waiting)
            group.to_start = deque(waiting[count:])
        for session in waiting[:count]:
            try:
                if outcome is Outcome.WITHOUT:
                    session.end(None)
                else:
                    session.start()
            except RuntimeError:
                session.end(None)


def _session_headers(call: Call) -> dict[str, str]:
    return {name: value for name, value in call.headers.items() if name not in _TRACE}


def _kind(call: Call) -> object:
    return frozenset(_session_headers(call).items()), call.compression
