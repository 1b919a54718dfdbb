"""One thread a client, for what must happen while its callers wait or have gone: deadlines, and sending cancels."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from nemotron_client import _defaults
from nemotron_client._timeouts import Deadline
from nemotron_client._transports import Call, Transport

_logger = logging.getLogger("nemotron_client")
# How long a request that has ended may stay in the watch's memory.
_LOOK_EVERY_S = 5.0
_Job = Callable[[], None]


@dataclass
class Guarded:
    """A deadline and what to do when it is reached.

    Attributes:
        deadline: Read again each time it was reached.
        expire: Called once, without blocking. Weak: the watch may remember for some seconds what nobody else does.
        watched_until: When the watcher looks next; it has to be told of an earlier deadline.
        done: The request has ended and needs no watching.
    """

    deadline: Deadline
    expire: weakref.WeakMethod[_Job]
    watched_until: float = math.inf
    done: bool = False


class Watch:
    """Starts its thread when it is first needed. Every method returns without waiting, but `close`.

    The inbox is a SimpleQueue because its `put` may be called by a finalizer, which can run in the middle of anything.
    """

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Guarded | _Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._posted = 0
        self._answered = threading.Condition()

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="nemotron-client-watch", daemon=True)
                    self._thread.start()

    def look_at(self, guarded: Guarded) -> None:
        """Call `expire` of this when its deadline is reached, unless it is done by then."""
        if guarded.deadline.at < guarded.watched_until:
            guarded.watched_until = _look_again(guarded, time.perf_counter())
            self._inbox.put(guarded)

    def post(self, transport: Transport, call: Call) -> None:
        """Send a call whose answer nobody reads."""
        self._inbox.put(lambda: self._post(transport, call))

    def close(self, timeout_s: float) -> None:
        """End the thread, after what was posted is sent and answered, but at the latest after this time."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        until = time.perf_counter() + timeout_s
        flushed = threading.Event()
        self._inbox.put(flushed.set)  # whatever was put before has been sent by then
        flushed.wait(timeout_s)
        with self._answered:
            self._answered.wait_for(lambda: not self._posted, max(0.0, until - time.perf_counter()))
        self.stop()
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    def stop(self) -> None:
        """End the thread as soon as it comes to it."""
        self._inbox.put(None)

    def _run(self) -> None:
        order = itertools.count()  # two guarded ones with equal times cannot be compared
        heap: list[tuple[float, int, Guarded]] = []
        while True:
            item = self._next_item(heap[0][0] if heap else math.inf)
            if item is None:
                return
            if isinstance(item, Guarded):
                heapq.heappush(heap, (item.watched_until, next(order), item))
            else:
                item()
            del item  # keeps nothing alive while it waits
            now = time.perf_counter()
            while heap and heap[0][0] <= now:
                at, _, guarded = heapq.heappop(heap)
                if at == guarded.watched_until and self._goes_on(guarded, now):
                    heapq.heappush(heap, (guarded.watched_until, next(order), guarded))
                del guarded

    def _next_item(self, until: float) -> Guarded | _Job | None:
        try:
            wait = None if until == math.inf else max(0.0, until - time.perf_counter())
            return self._inbox.get(timeout=wait)
        except queue.Empty:
            return _nothing

    def _goes_on(self, guarded: Guarded, now: float) -> bool:
        """Look at one whose time has come; whether there will be another look."""
        if not guarded.done and guarded.deadline.expire(now):
            guarded.done = True
            if expire := guarded.expire():
                expire()
        if guarded.done:
            return False
        guarded.watched_until = _look_again(guarded, now)
        # Its reader may have moved the deadline just before it could see our `watched_until`.
        guarded.watched_until = min(guarded.watched_until, guarded.deadline.at)
        return True

    def _post(self, transport: Transport, call: Call) -> None:
        with self._answered:
            self._posted += 1
        try:
            transport.post(call, _defaults.CANCEL_TIMEOUT_S, self._count_answer)
        except Exception as error:  # one cancel that cannot be sent must not end the watch over all other requests
            self._count_answer()
            _logger.debug("request %s cannot be cancelled: %s", call.request_id, type(error).__name__)

    def _count_answer(self) -> None:
        with self._answered:
            self._posted -= 1
            self._answered.notify_all()


def _nothing() -> None: ...


def _look_again(guarded: Guarded, now: float) -> float:
    return min(guarded.deadline.at, now + _LOOK_EVERY_S)
