"""The time that threads of the server live by, and wait by. A test puts a clock of its own in its place."""

from __future__ import annotations

import queue
import time
from typing import Any


class Clock:
    """The machine's."""

    def monotonic(self) -> float:
        """Seconds; see `time.monotonic`."""
        return time.monotonic()

    def thread_time(self) -> float:
        """Seconds of CPU time that the calling thread has taken; see `time.thread_time`."""
        return time.thread_time()

    def queue(self) -> queue.SimpleQueue[Any]:
        """A queue, empty, whose `get` waits by this clock."""
        return queue.SimpleQueue()


MACHINE_CLOCK = Clock()
