"""Notices a server that hangs: all its processes live, and something makes no progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from nemotron_serving.heartbeat import Beat, Pulse
from nemotron_serving.launcher.endpoints import Probe

PROBES = 4
"""So many pauses of a probe are the time after which something hangs."""

_LATE_S = 0.5  # a look that comes later counts for no more: this process, or the whole machine, stood still meanwhile
_SLOWER = 3.0  # than ever seen is not slow but hangs
_STANDS = 0.25  # of the time after which something hangs: from then on it is looked whether it could have run


class Watchdog:
    """Judges from looks, a few a second, what hangs.

    A piece of work hangs when it is busy and made no progress for `hang_seconds`, or for three times as long as its
    longest step so far, if that is more. The time is counted in looks, so a watchdog that was stopped together with
    what it watches, or alone, has seen nothing of that time. Nor does time count in which the machine kept what is
    watched from running: a new start would get no more of its CPUs.

    Args:
        hang_seconds: See above.
        withheld: Whether something that is watched was ready to run since the last call, and got no CPU.
        clock: Gives seconds.
    """

    def __init__(
        self, hang_seconds: float, withheld: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hang_seconds = hang_seconds
        self._withheld = withheld
        self._clock = clock
        self._last_look = clock()
        self._pieces: dict[str, _Piece] = {}

    def look(self, pulses: Mapping[str, Pulse]) -> str | None:
        """What hangs, as a clause; None while all is well.

        Args:
            pulses: The pulse of all work, by its name; those of before, where nothing was heard since.
        """
        now = self._clock()
        passed = min(now - self._last_look, _LATE_S)
        self._last_look = now
        if any(piece.still_s > _STANDS * self._hang_seconds for piece in self._pieces.values()) and self._withheld():
            passed = 0.0
        for name, pulse in pulses.items():
            piece = self._pieces.get(name)
            if piece is None:
                self._pieces[name] = _Piece(pulse)
            elif piece.stands(pulse, passed) > max(self._hang_seconds, _SLOWER * max(piece.longest_s, pulse.step_s)):
                return f"{name} has made no progress for {piece.still_s:.0f} s"
        return None


class _Piece:
    """What is known of one piece of work."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.still_s = self.longest_s = 0.0

    def stands(self, pulse: Pulse, passed: float) -> float:
        """Take a pulse, some seconds after the last one; returns for how long there was no progress."""
        if pulse.count != self._pulse.count:
            self.longest_s = max(self.longest_s, self.still_s)
            self.still_s = 0.0
        elif pulse.busy:
            # Not anew after a pause without progress: callers gave up, which is no sign of life.
            self.still_s += passed
        self._pulse = pulse
        return self.still_s


class HangWatch:
    """Watches one start of a server, from when it is ready until it is closed.

    Args:
        read_beats: Gives the beats of the models' processes since the last call. Those from while the server started
            tell which processes to expect more from.
        probe: Asks the server, all the way through.
        hang_seconds: See `Watchdog`.
        withheld: See `Watchdog`.
        clock: Gives seconds.
    """

    def __init__(
        self,
        read_beats: Callable[[], Iterable[Beat]],
        probe: Probe,
        hang_seconds: float,
        withheld: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_beats = read_beats
        self._probe = probe
        self._watchdog = Watchdog(hang_seconds, withheld, clock)
        self._pulses: dict[str, Pulse] = {}
        self._worked: dict[str, int] = {}

    def look(self) -> str | None:
        """What hangs, as a clause; None while all is well."""
        for beat in self._read_beats():
            process = f"the process of model '{beat.model}'"
            self._pulses[process] = Pulse(True, self._pulses[process].count + 1 if process in self._pulses else 0)
            for work, pulse in beat.pulses.items():
                self._pulses[f"the {work} of model '{beat.model}'"] = pulse
            self._worked[beat.model] = beat.pulses["work"].count
        asking = self._probe.pulse()
        # While a model works on requests, the probe may just have to wait for its turn.
        self._pulses["the launcher's request to tritonserver"] = Pulse(
            asking.busy, asking.count + sum(self._worked.values())
        )
        return self._watchdog.look(self._pulses)

    def close(self) -> None:
        """Ask the server no more."""
        self._probe.close()
