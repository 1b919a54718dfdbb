"""Notices that a run has become pointless."""

from __future__ import annotations

from nemotron_loadtest.samples import Sample

SECONDS = 5.0
REQUESTS = 3


class FailureWatch:
    """Looks whether every request fails, for some seconds. A server that is only full is one that works.

    Attributes:
        last_error: Type of the last error.
    """

    def __init__(self, seconds: float = SECONDS, requests: int = REQUESTS) -> None:
        """How long, and how often at least."""
        self.last_error = ""
        self._seconds = seconds
        self._requests = requests
        self._count = 0
        self._first_s = self._last_s = 0.0

    def see(self, sample: Sample) -> None:
        """Take a sample into account."""
        if sample.outcome == "error" and sample.error_type != "OverloadedError":
            self._first_s = self._first_s if self._count else sample.ended_s
            self._last_s = max(self._last_s, sample.ended_s)
            self._count += 1
            self.last_error = sample.error_type
        elif sample.outcome != "incomplete":
            self._count = 0

    @property
    def hopeless(self) -> bool:
        """Whether nothing else is to be expected."""
        return self._count >= self._requests and self._last_s - self._first_s >= self._seconds
