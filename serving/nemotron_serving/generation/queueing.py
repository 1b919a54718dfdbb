"""The two queues of the generating model: requests in front of the engine, and responses behind it.

Requests start by arrival, which a caller's priority moves by as many seconds, at most ten either way: so no request
waits for others that came more than twenty seconds later, whatever they ask for. With one exception that keeps long
prompts from starving short ones: while the prefill of a long prompt (one that fills steps by itself) is going on, other
long ones wait and short ones go ahead. That costs the long ones nothing, for side by side their prefills would take as
long; as soon as it is over, a long one that is the oldest is the next to start.

A response is not a token: each has its price in the generating model, Triton, postprocessing and the client together,
whatever it carries. The first token goes out at once; after that, tokens gather for an interval that grows with the
number of outlets and with what a response is seen to cost.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_MOST_PRIORITY_S = 10.0
_LEAST_INTERVAL_S = 0.04  # 25 updates a second look continuous to a reader
_SOON_S = 0.005  # the beginnings and ends of a session's many streams share a frame where they come together
_CPU_SHARE = 0.05  # of the machine, for responses, where the engine computes on it
_BUSY_SHARE = 0.5  # of the time of the thread that sends
_WEIGHT = 0.05  # of the latest response in the average

_T = TypeVar("_T")
_Entry = tuple[float, int, _T]


class WaitingRequests(Generic[_T]):
    """The queue in front of the engine."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrivals = itertools.count()
        self._short: list[_Entry[_T]] = []
        self._long: list[_Entry[_T]] = []

    def push(self, request: _T, priority: int, *, long: bool) -> None:
        """Queue a request, as if it had come `priority` seconds later, or earlier if that is negative."""
        moved_s = max(-_MOST_PRIORITY_S, min(priority, _MOST_PRIORITY_S))
        entry = (self._clock() + moved_s, next(self._arrivals), request)
        heapq.heappush(self._long if long else self._short, entry)

    def discard(self, request: _T) -> None:
        """Forget a request that was ended while it waited, if it is here."""
        for heap in (self._short, self._long):
            kept = [entry for entry in heap if entry[2] is not request]
            if len(kept) < len(heap):
                heap[:] = kept
                heapq.heapify(heap)

    def pop(self, *, long_allowed: bool) -> _T | None:
        """Take the next request; None if there is none that may start."""
        heaps = [heap for heap in (self._short, self._long if long_allowed else []) if heap]
        if not heaps:
            return None
        return heapq.heappop(min(heaps, key=lambda heap: heap[0][:2]))[2]


class Pace:
    """How far apart the responses of an outlet are: as near as their price allows.

    Where the engine computes on the machine's CPU, all responses together take 5 % of it. Elsewhere the limit is the
    one thread that sends: it is busy half of the time.

    Args:
        fixed_s: The interval, whatever they cost; None adapts it.
        cores: Of the machine, where the engine computes on them; None where it has a device of its own.
    """

    def __init__(self, fixed_s: float | None = None, cores: int | None = None) -> None:
        self._fixed_s = fixed_s
        self._cores = cores
        self._price_s: float | None = None  # of a response: seconds of the interval

    def interval_s(self, outlets: int) -> float:
        """Least time between two responses of an outlet while so many have something in flight."""
        if self._fixed_s is not None:
            return self._fixed_s
        return max(_LEAST_INTERVAL_S, outlets * (self._price_s or 0.0))

    def sent(self, wall_s: float, cpu_s: float) -> None:
        """A response went out.

        Args:
            wall_s: For so long the thread that sends was at it.
            cpu_s: So much CPU time it takes in all processes.
        """
        price_s = wall_s / _BUSY_SHARE if self._cores is None else cpu_s / (_CPU_SHARE * self._cores)
        if self._price_s is not None:
            price_s = self._price_s + _WEIGHT * (price_s - self._price_s)
        self._price_s = price_s


class DueResponses(Generic[_T]):
    """The queue behind the engine: outlets with news, by the time at which their next response may go out.

    An outlet is a stream whose responses go to its own caller, or a session with all its streams.

    Args:
        pace: Says how far apart they are.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._due: list[_Entry[_T]] = []
        self._pushes = itertools.count()
        self._queued: dict[_T, float] = {}  # until when
        self._last_sent: dict[_T, float] = {}

    def push(self, outlet: _T, outlets: int, *, soon: bool = False) -> None:
        """Queue an outlet, unless it is here.

        Args:
            outlet: A stream or a session.
            outlets: How many have something in flight.
            soon: Whether what is new cannot wait for the interval.
        """
        interval_s = self._pace.interval_s(outlets)
        sent = self._last_sent.get(outlet)
        time = 0.0 if sent is None else sent + (min(interval_s, _SOON_S) if soon else interval_s)
        if time < self._queued.get(outlet, float("inf")):
            self._queued[outlet] = time
            heapq.heappush(self._due, (time, next(self._pushes), outlet))

    def next_time(self) -> float:
        """When the next response may go out; infinite if there is none."""
        while self._due and self._queued.get(self._due[0][2]) != self._due[0][0]:
            heapq.heappop(self._due)  # one that was queued again for an earlier time, or is gone
        return self._due[0][0] if self._due else float("inf")

    def pop(self, now: float) -> _T | None:
        """Take the next outlet; None if its time has not come."""
        if self.next_time() > now or not self._due:
            return None
        outlet = heapq.heappop(self._due)[2]
        del self._queued[outlet]
        return outlet

    def sent(self, outlet: _T, now: float) -> None:
        """A response of a stream, or a frame of a session, went out."""
        self._last_sent[outlet] = now

    def forget(self, outlet: _T) -> None:
        """The stream or session has ended."""
        self._last_sent.pop(outlet, None)
        self._queued.pop(outlet, None)
