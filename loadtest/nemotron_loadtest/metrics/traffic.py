"""What happened in a window of time.

Two questions need two sets. Latencies are about the requests that *began* in the window, by their intended start.
Rates are about what *happened* in it: a token counts in the window in which it came, whenever its request began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from nemotron_loadtest.samples import Sample

Array = NDArray[np.float64]


class Window(msgspec.Struct, frozen=True):
    """A stretch of time, its end excluded, in the samples' seconds."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.start_s

    def holds(self, at_s: float) -> bool:
        """Whether an instant lies in it."""
        return self.start_s <= at_s < self.end_s

    def split(self, parts: int) -> list[Window]:
        """Parts of equal length."""
        edges = [self.start_s + self.length_s * part / parts for part in range(parts)] + [self.end_s]
        return [Window(start, end) for start, end in pairwise(edges)]


@dataclass(frozen=True)
class _Events:
    """Sorted instants of all samples."""

    intended: Array
    started: Array
    ended: Array
    completed: Array
    achieved: Array
    token_at: Array
    tokens_until: Array


class Traffic:
    """The samples of a run, seen through a window."""

    def __init__(self, samples: Iterable[Sample], window: Window) -> None:
        self.window = window
        self._samples = sorted(samples, key=lambda sample: sample.intended_s)
        self._events = _events(self._samples)

    def within(self, window: Window) -> Traffic:
        """The same samples through another window."""
        other = object.__new__(Traffic)
        other.window, other._samples, other._events = window, self._samples, self._events
        return other

    def split(self, parts: int) -> list[Traffic]:
        """Through the parts of the window."""
        return [self.within(window) for window in self.window.split(parts)]

    @cached_property
    def began(self) -> Sequence[Sample]:
        """Requests whose intended start lies in the window, in that order."""
        first, end = np.searchsorted(self._events.intended, [self.window.start_s, self.window.end_s])
        return self._samples[first:end]

    @property
    def requested(self) -> int:
        """Requests that the schedule wanted sent."""
        return self._count(self._events.intended)

    @property
    def sent(self) -> int:
        """Requests that were sent."""
        return self._count(self._events.started)

    @property
    def completed(self) -> int:
        """Whole answers that came to their end."""
        return self._count(self._events.completed)

    @property
    def achieved(self) -> int:
        """Requests that ended as they were meant to: whole, or cancelled on purpose."""
        return self._count(self._events.achieved)

    @property
    def output_tokens(self) -> float:
        """Output tokens that came."""
        edges = np.searchsorted(self._events.token_at, [self.window.start_s, self.window.end_s])
        first, end = self._events.tokens_until[edges]
        return float(end - first)

    @property
    def request_seconds(self) -> float:
        """Time that requests spent under way, added up over the requests."""
        edges = (self.window.start_s, self.window.end_s)
        under_way = np.clip(self._events.ended, *edges).sum() - np.clip(self._events.started, *edges).sum()
        return float(under_way)

    def _count(self, instants: Array) -> int:
        first, end = np.searchsorted(instants, [self.window.start_s, self.window.end_s])
        return int(end - first)


def _events(samples: Sequence[Sample]) -> _Events:
    token_at = np.fromiter((arrival.at_s for sample in samples for arrival in sample.arrivals), np.float64)
    tokens = np.fromiter((count for sample in samples for count in brought(sample)), np.float64)
    order = np.argsort(token_at)
    return _Events(
        intended=_sorted(sample.intended_s for sample in samples),
        started=_sorted(sample.started_s for sample in samples),
        ended=_sorted(sample.ended_s for sample in samples),
        completed=_sorted(sample.ended_s for sample in samples if sample.outcome == "ok"),
        achieved=_sorted(sample.ended_s for sample in samples if sample.outcome in ("ok", "cancelled")),
        token_at=token_at[order],
        tokens_until=np.concatenate([[0.0], np.cumsum(tokens[order])]),
    )


def brought(sample: Sample) -> list[int]:
    """How many tokens each response of a request brought; the arrivals hold running totals."""
    totals = [arrival.output_tokens for arrival in sample.arrivals]
    return [total - before for before, total in zip([0, *totals], totals, strict=False)]


def _sorted(instants: Iterable[float]) -> Array:
    return np.sort(np.fromiter(instants, np.float64))
