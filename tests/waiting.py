"""Waiting for something that has to become true, and how long that may take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.02)


def allowed(seconds: float) -> float:
    """What something may take here and now that takes `seconds` at most where nothing else runs.

    Twice that, and as much more as others use the machine: each waits for its turn several times.
    """
    return seconds * (2 + 2 * os.getloadavg()[0] / (os.cpu_count() or 1))
