"""The time of a run, on which its processes agree."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Start(msgspec.Struct, frozen=True):
    """The start of a run, as one process tells another.

    Attributes:
        boot: Names the running system: processes with the same one share the monotonic clock.
        zero: On that clock.
        wall: The same moment in seconds since 1970, for another machine, whose clock is hoped to be right.
    """

    boot: str
    zero: float
    wall: float


@dataclass(frozen=True)
class RunClock:
    """Seconds since the start of the run.

    `time.perf_counter` is, on Linux, the monotonic clock of the machine: its processes share it, and the client's
    times are of it.

    Attributes:
        zero: The start, as `time.perf_counter` has it.
    """

    zero: float

    @classmethod
    def starting_in(cls, delay_s: float) -> RunClock:
        """The clock of a run that starts after so long."""
        return cls(time.perf_counter() + delay_s)

    @classmethod
    def of(cls, start: Start) -> RunClock:
        """The clock of a run that another process has started."""
        if start.boot and start.boot == _boot():
            return cls(start.zero)
        return cls(time.perf_counter() + start.wall - time.time())

    @property
    def start(self) -> Start:
        """For other processes."""
        return Start(_boot(), self.zero, time.time() - self.now())

    def now(self) -> float:
        """Seconds since the start; negative before it."""
        return time.perf_counter() - self.zero

    def at(self, perf_counter: float) -> float:
        """A time of `time.perf_counter` in seconds since the start."""
        return perf_counter - self.zero


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # not Linux: no two processes share a clock
        return ""
