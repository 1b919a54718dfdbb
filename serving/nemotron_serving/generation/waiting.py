"""Which waiting request is the next to generate.

By priority, then by arrival, with one exception that keeps long prompts from starving short ones: while the
prefill of a long prompt (one that fills steps by itself) is going on, other long ones wait and short ones go ahead.
That costs the long ones nothing, for side by side their prefills would take as long.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

_T = TypeVar("_T")
_Entry = tuple[int, int, _T]


class WaitingRequests(Generic[_T]):
    """The queue in front of the engine."""

    def __init__(self) -> None:
        self._arrivals = itertools.count()
        self._short: list[_Entry[_T]] = []
        self._long: list[_Entry[_T]] = []

    def push(self, request: _T, priority: int, *, long: bool) -> None:
        """Queue a request; a smaller priority is served first."""
        heapq.heappush(self._long if long else self._short, (priority, next(self._arrivals), request))

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
