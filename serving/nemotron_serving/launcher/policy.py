"""When a crashed server is started again, and when no more."""

from __future__ import annotations

import time
from collections.abc import Callable


class RestartPolicy:
    """At once after the first crash, then after 1, 2, 4 … seconds; never after too many in the window.

    Args:
        most_crashes: The crash with this number, within the window, is the last.
        window_s: Crashes longer ago are forgotten, and with them the delay they caused.
        clock: Gives seconds.
    """

    def __init__(
        self, *, most_crashes: int = 5, window_s: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most_crashes = most_crashes
        self.window_s = window_s
        self._clock = clock
        self._crashes: list[float] = []

    def delay_after_crash(self) -> float | None:
        """Note a crash now. Returns the seconds to wait before the next start, or None to give up."""
        now = self._clock()
        self._crashes = [crash for crash in self._crashes if now - crash < self.window_s] + [now]
        number = len(self._crashes)
        if number >= self.most_crashes:
            return None
        return 0.0 if number == 1 else 2.0 ** (number - 2)
