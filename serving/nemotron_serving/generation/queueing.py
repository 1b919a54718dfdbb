"""The two queues of the generating model: requests in front of the engine, and responses behind it.

Requests start by arrival, which a caller's priority moves by as many seconds, at most ten either way: so no request
waits for others that came more than twenty seconds later, whatever they ask for. With one exception that keeps long
prompts from starving short ones: while the prefill of a long prompt (one that fills steps by itself) is going on, other
long ones wait and short ones go ahead. That costs the long ones nothing, for side by side their prefills would take as
long; as soon as it is over, a long one that is the oldest is the next to start.

A response is not a token: each costs 1 to 2 ms of CPU in the generating model, Triton, postprocessing and the client
together, whatever it carries. The first token goes out at once; after that, tokens gather for an interval
that grows with the number of streams, so that responses cost the engine no more than some 5 % of the machine.
"""

from __future__ import annotations

import heapq
import itertools
import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_MOST_PRIORITY_S = 10.0
_LEAST_INTERVAL_S = 0.04  # 25 updates a second look continuous to a reader
_RESPONSES_PER_S_AND_CORE = 25

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


class DueResponses:
    """The queue behind the engine: streams with news, by the time at which their next response may go out.

    Args:
        interval_s: Least time between two responses of a stream; None adapts it to the number of streams.
    """

    def __init__(self, interval_s: float | None = None) -> None:
        self._interval_s = interval_s
        self._due: list[tuple[float, int]] = []
        self._queued: set[int] = set()
        self._last_sent: dict[int, float] = {}

    def push(self, stream_id: int, streams: int) -> None:
        """Queue a stream, unless it is here.

        Args:
            stream_id: The stream.
            streams: How many are in flight.
        """
        if stream_id in self._queued:
            return
        self._queued.add(stream_id)
        interval_s = adaptive_interval_s(streams) if self._interval_s is None else self._interval_s
        sent = self._last_sent.get(stream_id)
        heapq.heappush(self._due, (0.0 if sent is None else sent + interval_s, stream_id))

    def next_time(self) -> float:
        """When the next response may go out; infinite if there is none."""
        return self._due[0][0] if self._due else float("inf")

    def pop(self, now: float) -> int | None:
        """Take the next stream, also one that has ended; None if its time has not come."""
        if self.next_time() > now:
            return None
        stream_id = heapq.heappop(self._due)[1]
        self._queued.remove(stream_id)
        return stream_id

    def sent(self, stream_id: int, now: float) -> None:
        """A response of the stream went out."""
        self._last_sent[stream_id] = now

    def forget(self, stream_id: int) -> None:
        """The stream has ended."""
        del self._last_sent[stream_id]


def adaptive_interval_s(streams: int) -> float:
    """Least time between two responses of a stream, in seconds, with this many streams in flight."""
    return max(_LEAST_INTERVAL_S, streams / (_RESPONSES_PER_S_AND_CORE * (os.cpu_count() or 1)))
