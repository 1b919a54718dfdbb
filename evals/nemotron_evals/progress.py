"""A run's progress: one line in a terminal that is written again, or else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

_EVERY_S = 0.5
_EVERY_S_WITHOUT_TERMINAL = 30.0


@dataclass
class _Part:
    """Of a run, one benchmark in one mode: samples, those done before and by now, and tokens of the latter."""

    total: int
    before: int
    done: int = 0
    tokens: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        return max(0, self.total - self.before - self.done)


class Progress:
    """Counts samples and tokens, and says how long the rest will take.

    The rest is the samples that are left, times the tokens that samples of the same kind took; where there were none
    yet, those of all kinds. It comes at the rate at which tokens came so far.

    Args:
        totals: Samples of each part, by name.
        before: Those that were done before this process began.
        to: Where lines go.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        totals: Mapping[str, int],
        before: Mapping[str, int],
        to: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = {name: _Part(total, min(total, before.get(name, 0))) for name, total in totals.items()}
        self._to = to
        self._clock = clock
        self._started = self._said = clock()
        self._live = to.isatty()
        self._width = 0

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock() - self._started

    def add(self, name: str, tokens: int, *, failed: bool) -> None:
        """A sample is done."""
        part = self._parts[name]
        part.done += 1
        part.tokens += tokens
        part.failed += failed
        every = _EVERY_S if self._live else _EVERY_S_WITHOUT_TERMINAL
        if self._clock() - self._said >= every or not part.left:
            self._said = self._clock()
            self._write(self.line(name))

    def line(self, name: str) -> str:
        """What is said when a sample of that part is done."""
        part = self._parts[name]
        total, left = (sum(getattr(one, what) for one in self._parts.values()) for what in ("total", "left"))
        failed = sum(one.failed for one in self._parts.values())
        words = [
            f"{name} {part.total - part.left}/{part.total}",
            f"all {total - left}/{total}",
            f"{failed} failed" if failed else "",
            f"{self._rate():.{0 if self._rate() >= 10 else 1}f} tokens/s",
            "done" if not left else f"{_duration(self.seconds_left())} to go",
        ]
        return ", ".join(word for word in words if word)

    def seconds_left(self) -> float:
        """Of the whole run, by what came so far."""
        done = sum(part.done for part in self._parts.values())
        tokens = sum(part.tokens for part in self._parts.values())
        if not done:
            return 0.0
        if not tokens:
            return float(sum(part.left for part in self._parts.values()) * self.seconds / done)
        rest: float = sum(
            part.left * (part.tokens / part.done if part.done else tokens / done) for part in self._parts.values()
        )
        return rest * self.seconds / tokens

    def end(self) -> None:
        """Leave the line that is written again."""
        if self._live and self._width:
            self._to.write("\n")
            self._to.flush()
            self._width = 0

    def _rate(self) -> float:
        return sum(part.tokens for part in self._parts.values()) / max(self.seconds, 1e-9)

    def _write(self, line: str) -> None:
        if not self._live:
            self._to.write(f"{line}\n")
        else:
            self._to.write(f"\r{line:{self._width}}")
            self._width = len(line)
        self._to.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
