"""Who is here: places, the names that stops have to say, and stops that come before their request."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

from nemotron_serving.contract import CALLER
from nemotron_serving.errors import InvalidRequestError, UnavailableError
from nemotron_serving.generation.leaving import EarlyStops, RequestName
from nemotron_serving.generation.stream import Stream
from nemotron_serving.host import PROBE_PLACES, StopRule


class Admission:
    """Admits requests and finds them again. For all threads.

    The launcher's own request, known by its id, has a place of its own and counts as none.

    Args:
        places: So many requests at the same time.
        stops: Whose stops end a request.
        probe_id: Id of the launcher's own requests, see `HostOptions.probe_id`; None where there are none.
        clock: Gives seconds.

    Attributes:
        streams: Those that are admitted, by their number; the pump takes them out.
    """

    def __init__(self, places: int, stops: StopRule, probe_id: str | None, clock: Callable[[], float]) -> None:
        self.streams: dict[int, Stream] = {}
        self._places = places
        self._rule = stops
        self._probe_id = probe_id
        self._probing = 0  # of the places
        # The one that is free for the longest time is taken next: so nothing of its last stream is still on its way.
        self._free_slots = collections.deque(range(places + PROBE_PLACES))
        self._stops = EarlyStops(clock)
        self._lock = threading.Lock()

    @property
    def in_flight(self) -> int:
        """Requests that have a place, but for the launcher's own."""
        return self._places + PROBE_PLACES - len(self._free_slots) - self._probing

    def name(self, client_id: str, caller: str) -> RequestName:
        """What a stop has to say."""
        return RequestName(caller if self._rule == "bound" else "", client_id)

    def meant(self, client_id: str, caller: str, session_key: str, check_open: Callable[[], None]) -> RequestName:
        """What a stop means by this id, on a session or by itself; and whatever else is said about a request.

        Raises:
            InvalidRequestError: no id, which names no request, or no caller where stops are bound.
            UnavailableError: no caller there, and `check_open` says that the server is shutting down.
        """
        if not client_id:
            raise InvalidRequestError("id", "missing, expected that of the request to stop, which needs one as well")
        name = RequestName(session_key, client_id) if session_key else self.name(client_id, caller)
        if self._rule == "bound" and not name.caller:
            check_open()
            raise InvalidRequestError(
                CALLER,
                "missing; this server ends a request only for the caller that sent it, so send the same value as a "
                "header with the request and its stop (over /generate as a key of the body)",
            )
        return name

    def is_probe(self, client_id: str) -> bool:
        """Whether this is the launcher's own."""
        return self._probe_id is not None and client_id == self._probe_id

    def take_place(self, names: tuple[RequestName, ...]) -> int:
        """The slot of a request that is admitted, until it ends or fails.

        Raises:
            UnavailableError: there is none.
        """
        probe = self.is_probe(names[0].id)
        with self._lock:
            taken, places = (self._probing, PROBE_PLACES) if probe else (self.in_flight, self._places)
            if taken >= places:
                self._finished(names)
                raise UnavailableError(
                    f"This server has {taken} requests in flight, which is its limit; try again later."
                )
            self._probing += probe
            return self._free_slots.popleft()

    def give_back(self, slot: int, names: tuple[RequestName, ...]) -> None:
        """The request has ended, or could not be begun."""
        with self._lock:
            self._free_slots.append(slot)
            self._probing -= self.is_probe(names[0].id)
            self._finished(names)

    def enter(self, stream: Stream) -> bool:
        """Take in the stream of a request that has a place; returns whether it was stopped already.

        Raises:
            ServingError: its outlet does not take it.
        """
        with self._lock:
            stream.outlet.add(stream)
            stream.number = time.monotonic_ns()  # not by the service's clock, which may stand: no two have the same
            self.streams[stream.stream_id] = stream
            return any([self._stops.take(name) for name in stream.names])

    def leave(self, stream: Stream) -> None:
        """A stream has ended: its place is another's."""
        with self._lock:  # its session may end while it enters
            del self.streams[stream.stream_id]
        stream.outlet.remove(stream)
        self.give_back(stream.slot, stream.names)

    def named(self, name: RequestName) -> list[Stream]:
        """The streams of this name."""
        with self._lock:
            return [stream for stream in self.streams.values() if name in stream.names]

    def find(self, name: RequestName, check_open: Callable[[], None]) -> list[Stream]:
        """The streams that a stop ends; where there are none, it is remembered for one that comes.

        Raises:
            UnavailableError: there are none, and too many such stops came, or `check_open` says that requests will soon
                be refused.
        """
        with self._lock:
            found = [stream for stream in self.streams.values() if name in stream.names]
            if not found:
                remembered = self._stops.add(name)
                check_open()
                if not remembered:
                    raise UnavailableError("Too many stops came whose requests were not here; try again later.")
        return found

    def _finished(self, names: tuple[RequestName, ...]) -> None:
        for name in names:
            self._stops.finished(name)
