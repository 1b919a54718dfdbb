"""When requests are to be sent: known before the first one is, whatever happens in the run.

A rate may change over time. With r(t) requests a second, Λ(t) = ∫r is the number expected by the time t. Evenly spaced
requests come where Λ is 0, 1, 2, …; those of a Poisson process where Λ takes the times of a Poisson process of rate 1
(time change: exact, nothing is thrown away). Both need only the inverse of Λ, which for a piecewise linear r has a
closed form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, count, islice, pairwise, repeat, takewhile
from random import Random

from nemotron_loadtest.arrivals.traces import read_trace
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import (
    ClosedLoop,
    Constant,
    OpenLoop,
    Poisson,
    Ramp,
    Spike,
    Staircase,
    Trace,
    TraceReplay,
    draw_delay,
)


def schedule(
    arrivals: OpenLoop, *, duration_s: float, seed: int, trace: Trace | None = None, worker: int = 0, workers: int = 1
) -> Iterator[float]:
    """Times at which requests are to be sent, in seconds from 0, ascending.

    Arrival k belongs to worker k % workers, so the workers' schedules together are that of one worker alone.

    Args:
        arrivals: The arrivals of an open loop.
        duration_s: No arrival from here on.
        seed: The same seed gives the same times.
        trace: For `TraceReplay`.
        worker: Number of this worker, from 0.
        workers: How many there are.

    Raises:
        ScenarioError: a trace that cannot be read, with the line; or none where one is replayed.
    """
    times = takewhile(lambda time_s: time_s < duration_s, _times(arrivals, seed, trace))
    return islice(times, worker, None, workers)


def user_starts(arrivals: ClosedLoop, *, worker: int = 0, workers: int = 1) -> Iterator[float]:
    """When the users of a closed loop start, in seconds from 0. User k belongs to worker k % workers."""
    for user in range(worker, arrivals.users, workers):
        yield user * arrivals.ramp_up_s / arrivals.users


def think_times(arrivals: ClosedLoop, *, seed: int, user: int) -> Iterator[float]:
    """Seconds that a user waits after each of its conversations, without end.

    Args:
        arrivals: The closed loop.
        seed: The same seed and user give the same.
        user: Its number among all users.
    """
    random = Random(f"{seed}/think_time/{user}")  # noqa: S311 - not for secrets
    while True:
        yield draw_delay(arrivals.think_time_s, random)


def _times(arrivals: OpenLoop, seed: int, trace: Trace | None) -> Iterator[float]:
    if isinstance(arrivals, TraceReplay):
        if trace is None:
            raise ScenarioError("arrivals.kind is 'trace', but there is no [trace] with a path")
        return (request.at_s / arrivals.speed for request in read_trace(trace))
    rate = rate_of(arrivals)
    assert rate is not None  # noqa: S101 - all but traces have one
    return rate.times(_even_counts() if _is_even(arrivals) else _poisson_counts(seed))


def _is_even(arrivals: OpenLoop) -> bool:
    if isinstance(arrivals, (Poisson, TraceReplay)):
        return False
    return isinstance(arrivals, Constant) or arrivals.spacing == "even"


def _even_counts() -> Iterator[float]:
    return (float(number) for number in count())


def _poisson_counts(seed: int) -> Iterator[float]:
    """The times of a Poisson process of rate 1."""
    random = Random(f"{seed}/arrivals")  # noqa: S311 - not for secrets
    return accumulate(random.expovariate(1.0) for _ in repeat(None))


@dataclass(frozen=True)
class Segment:
    """A part of the time in which the rate changes evenly.

    Attributes:
        begin_s: When it begins; it lasts until the next one does, the last one for ever.
        rate: Requests a second at its beginning.
        slope: By how much the rate changes in a second.
    """

    begin_s: float
    rate: float
    slope: float = 0.0

    def expected(self, duration_s: float) -> float:
        """Requests in the first so many seconds."""
        return self.rate * duration_s + self.slope * duration_s**2 / 2

    def until(self, count: float) -> float:
        """Seconds after which so many requests are expected; infinite where they never are.

        Solves rate·x + slope·x²/2 = count in the form that does not cancel:
        x = 2·count / (rate + √(rate² + 2·slope·count)).
        """
        if count <= 0:
            return 0.0
        root = math.sqrt(max(0.0, self.rate**2 + 2 * self.slope * count))
        return 2 * count / (self.rate + root) if self.rate + root > 0 else math.inf


@dataclass(frozen=True)
class Rate:
    """Requests a second as a function of time. The first segment begins at 0."""

    segments: tuple[Segment, ...]

    def at(self, time_s: float) -> float:
        """Requests a second at this time."""
        segment = next(one for one in reversed(self.segments) if one.begin_s <= max(0.0, time_s))
        return segment.rate + segment.slope * (time_s - segment.begin_s)

    def times(self, counts: Iterable[float]) -> Iterator[float]:
        """The times at which so many requests are expected.

        Args:
            counts: Ascending. Ends with the first that is never reached.
        """
        ends = [after.begin_s for _, after in pairwise(self.segments)]
        within = [one.expected(end - one.begin_s) for one, end in zip(self.segments, ends, strict=False)]
        before = list(accumulate(within, initial=0.0))
        current = 0
        for expected in counts:
            while current < len(ends) and expected >= before[current + 1]:
                current += 1
            segment = self.segments[current]
            time_s = segment.begin_s + segment.until(expected - before[current])
            if math.isinf(time_s):
                return
            yield min(time_s, ends[current]) if current < len(ends) else time_s


def rate_of(arrivals: OpenLoop) -> Rate | None:
    """The rate that is asked for; None for a trace, whose requests come when they came."""
    if isinstance(arrivals, (Constant, Poisson)):
        return Rate((Segment(0.0, arrivals.rate),))
    if isinstance(arrivals, Ramp):
        slope = (arrivals.to_rate - arrivals.from_rate) / arrivals.over_s
        return Rate((Segment(0.0, arrivals.from_rate, slope), Segment(arrivals.over_s, arrivals.to_rate)))
    if isinstance(arrivals, Staircase):
        return Rate(tuple(Segment(step * arrivals.step_s, rate) for step, rate in enumerate(arrivals.rates)))
    if isinstance(arrivals, Spike):
        end_s = arrivals.at_s + arrivals.for_s
        peak = (Segment(arrivals.at_s, arrivals.peak_rate), Segment(end_s, arrivals.rate))
        return Rate((Segment(0.0, arrivals.rate), *peak))
    return None
