"""A way for long prompts beside the others, so that short ones do not wait for them.

To tokenize 100,000 characters takes 30 ms and more, in which Python's interpreter lock is free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from nemotron_serving.errors import UnavailableError
from nemotron_serving.heartbeat import Pulse, Work


class LongLane:
    """Does pieces of work one after the other in a thread of its own."""

    def __init__(self, most: int) -> None:
        """Start the thread: later the machine may have none to give.

        Args:
            most: Pieces that may be here at once.
        """
        self._most = most
        self._here = 0
        self._lock = threading.Lock()  # guards that
        self._work = Work()
        self._thread = ThreadPoolExecutor(1, "nemotron-long-prompts")
        self._thread.submit(lambda: None)

    def submit(self, piece: Callable[[], None]) -> None:
        """Take a piece of work, which raises nothing, and return at once.

        Raises:
            UnavailableError: too many are here.
        """
        with self._lock:
            if self._here >= self._most:
                raise UnavailableError(
                    f"This server has {self._here} long prompts to read, which is its limit; try again later."
                )
            self._here += 1
        self._thread.submit(self._do, piece)

    def pulse(self) -> Pulse:
        """Whether it gets on."""
        return self._work.pulse()

    def close(self) -> None:
        """Wait for what is left and end the thread."""
        self._thread.shutdown()

    def _do(self, piece: Callable[[], None]) -> None:
        try:
            with self._work:
                piece()
        finally:
            with self._lock:
                self._here -= 1
