"""When what died is started again."""

from __future__ import annotations

import time
from collections.abc import Callable


class RestartPolicy:
    """After the first crash at once, then after 1, 2, 4 … seconds, for as long as a start succeeds.

    One request may be enough to crash a server, so crashes alone are no reason to end the service for everybody. Starts
    that fail one after another are: nothing that a caller sends can mend them.

    Args:
        most_failed_starts: The failed start with this number, without one in between that succeeded, is the last.
        longest_s: No wait is longer.
        quiet_s: A server that was up for so long has its earlier crashes forgotten.
        clock: Gives seconds.
    """

    def __init__(
        self,
        *,
        most_failed_starts: int = 5,
        longest_s: float = 30.0,
        quiet_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most_failed_starts = most_failed_starts
        self._longest_s = longest_s
        self._quiet_s = quiet_s
        self._clock = clock
        self._failures = 0  # crashes and failed starts that are not forgotten
        self._failed_starts = 0  # one after another
        self._up_since: float | None = clock()

    def started(self) -> None:
        """Note that a start succeeded."""
        self._failed_starts = 0
        self._up_since = self._clock()

    def crashed(self) -> float:
        """Note that a server which callers reached is gone. Returns the seconds to wait before the next start."""
        if self._up_since is not None and self._clock() - self._up_since >= self._quiet_s:
            self._failures = 0
        self._up_since = None
        return self._next_wait()

    def start_failed(self) -> float | None:
        """Note a failed start. Returns the seconds to wait before the next one, or None to give up."""
        self._failed_starts += 1
        return None if self._failed_starts >= self.most_failed_starts else self._next_wait()

    def _next_wait(self) -> float:
        wait_s = 2.0 ** (self._failures - 1) if self._failures else 0.0
        if wait_s < self._longest_s:
            self._failures += 1
        return min(wait_s, self._longest_s)
