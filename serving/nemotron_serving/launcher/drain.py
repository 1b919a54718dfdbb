"""Let running requests finish, admit no new ones, then stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from nemotron_serving.launcher.console import say

_POLL_S = 0.1
_CANCEL_S = 5.0
# The models publish their count a few times a second, and a last response may be on its way.
_IDLE_S = 0.6


class Drainable(Protocol):
    """What draining needs of a server."""

    def refuse_new(self) -> None:
        """Have the models refuse new requests."""

    def cancel_running(self) -> None:
        """Have the models end what runs, with a reason."""

    def in_flight(self) -> int | None:
        """Requests the models work on; None if the server does not say, for it is gone or slow."""

    def death(self) -> str | None:
        """What is gone of its processes; None while all live."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


def drain(server: Drainable, seconds: float, clock: Callable[[], float] = time.monotonic) -> bool:
    """Refuse new requests and wait for the running ones; cancel what is left when the time is up.

    When a process of the server dies meanwhile, nothing is waited for: requests that it worked on never end.

    Args:
        server: The server; it is left running, and idle.
        seconds: Time for the running requests.
        clock: Gives seconds.

    Returns:
        Whether all ended by themselves.
    """
    server.refuse_new()
    left = _wait_idle(server, seconds, clock, f"Draining: {{}} running, up to {seconds:g} s")
    if left and (death := server.death()) is not None:
        say(f"{_requests(left)} lost while draining: {death}.")
    elif left:
        server.cancel_running()
        say(f"{_requests(left)} still running after {seconds:g} s: cancelled.")
        _wait_idle(server, _CANCEL_S, clock, None)
    return not left


def _wait_idle(server: Drainable, seconds: float, clock: Callable[[], float], progress: str | None) -> int:
    began = busy_at = clock()
    deadline = began + seconds
    said = last = 0
    while True:
        count, now = server.in_flight(), clock()
        last = last if count is None else count
        if now >= deadline or (count != 0 and server.death() is not None):
            return last
        if count != 0:
            busy_at = now
        elif now - busy_at >= _IDLE_S:
            return 0
        # Not at once: the count may be that of a moment before, with nothing left to wait for.
        if progress and count and count != said and now - began >= _IDLE_S:
            say(progress.format(_requests(count)))
            said = count
        server.sleep(_POLL_S)


def _requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"
