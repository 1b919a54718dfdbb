"""What nemotron-serve raises on purpose; each class knows the exit status that it becomes.

ServingError
└── LauncherError
    ├── SetupError      the command line or this machine: fix it and try again
    ├── StartError      Triton did not get ready
    ├── RestartError    the server crashed, and could not be started again
    └── CrashError      the server crashed or hangs, and others are to start it again
"""

from __future__ import annotations

from typing import ClassVar

from nemotron_serving.errors import ServingError


class LauncherError(ServingError):
    """Base of all. The message is what the person at the terminal reads."""

    exit_status: ClassVar[int] = 1


class SetupError(LauncherError):
    """Nothing was started: an option, a file, a port or an installation is not as it must be."""

    exit_status = 2


class StartError(LauncherError):
    """Triton was started and ended, or did not get ready in time. The message holds its own reason.

    Attributes:
        reachable: Triton itself ended, at a time when callers reached it already: a request may be the cause.
    """

    def __init__(self, message: str, *, reachable: bool = False) -> None:
        super().__init__(message)
        self.reachable = reachable


class RestartError(LauncherError):
    """The server crashed, and several starts in a row failed. The message holds the reason of the last."""


class CrashError(LauncherError):
    """The server crashed or hangs, and `--restart never` leaves it to others to start it again.

    A status of its own tells it from a start that failed, which a restart seldom mends.

    Args:
        reason: What died or hangs, as a clause.
    """

    exit_status = 3

    def __init__(self, reason: str) -> None:
        super().__init__(f"Ended, for --restart never was given: {sentence(reason)}")


def sentence(clause: str) -> str:
    """A clause, or several sentences that lack the last point, as the end of a message."""
    return clause if clause.endswith((".", "?")) else f"{clause}."
