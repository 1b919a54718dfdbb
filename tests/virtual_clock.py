"""A clock that stands until a test lets time pass, for threads that wait for nothing but their queues."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from nemotron_serving.clock import Clock

_PATIENCE_S = 60  # of this machine: how long threads may work before they wait for time again


class VirtualClock(Clock):
    """Time goes from one moment that a thread waits for to the next, when all threads wait.

    Each queue has one thread that reads it; so all wait when each queue is empty and waited for.
    """

    def __init__(self) -> None:
        self.cpu_s = 0.0  # nothing takes any, unless a test says so
        self._now = 1000.0
        self.changed = threading.Condition()
        self._queues: list[_Queue] = []

    def monotonic(self) -> float:
        return self._now

    def thread_time(self) -> float:
        return self.cpu_s

    def queue(self) -> queue.SimpleQueue[Any]:
        made = _Queue(self)
        self._queues.append(made)
        return made

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], object], seconds: float = 30) -> bool:
        """Let time pass until the condition holds; returns whether it did within so many seconds."""
        end = self._now + seconds
        while True:
            self._settle()
            if condition():
                return True
            if self._now >= end:
                return False
            self._settle()  # the condition may have given them something to do
            with self.changed:
                self._now = min(end, *(one.until for one in self._queues))
                self.changed.notify_all()

    def _settle(self) -> None:
        """Have the threads do what is to be done now."""
        patience_ends = time.monotonic() + _PATIENCE_S
        with self.changed:
            while not all(one.waits for one in self._queues):
                assert time.monotonic() < patience_ends, "a thread waits for something else than time"
                self.changed.wait(0.01)  # a thread that ends does not say so


class _Queue(queue.SimpleQueue[Any]):
    """A queue and how long its reader waits for it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._items: deque[Any] = deque()
        self._reader: threading.Thread | None = None
        self._reading = False
        self.until = float("inf")

    @property
    def waits(self) -> bool:
        """Whether its reader waits for nothing but time, or has ended."""
        if self._reading:
            return not self._items and self.until > self._clock.monotonic()
        return self._reader is not None and not self._reader.is_alive()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - it has room
        with self._clock.changed:
            self._items.append(item)
            self._clock.changed.notify_all()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self._clock.changed:
            if block:
                self._wait(float("inf") if timeout is None else self._clock.monotonic() + timeout)
            if not self._items:
                raise queue.Empty
            return self._items.popleft()

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def qsize(self) -> int:
        return len(self._items)

    def _wait(self, until: float) -> None:
        self._reader, self._reading, self.until = threading.current_thread(), True, until
        self._clock.changed.notify_all()
        while not self._items and self._clock.monotonic() < until:
            self._clock.changed.wait()
        self._reading, self.until = False, float("inf")
