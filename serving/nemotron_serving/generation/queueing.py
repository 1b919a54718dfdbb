"""Which waiting request is the next to generate.

By arrival, which a caller's priority moves by as many seconds, at most ten either way: so no request waits for others
that came more than twenty seconds later, whatever they ask for. With one exception that keeps long prompts from
starving short ones: while the prefill of a long prompt (one that fills steps by itself) is going on, other long ones
wait and short ones go ahead. That costs the long ones nothing, for side by side their prefills would take as long; as
soon as it is over, a long one that is the oldest is the next to start.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_MOST_PRIORITY_S = 10.0

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
