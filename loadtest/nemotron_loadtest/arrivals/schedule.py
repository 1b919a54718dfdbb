"""When requests are to be sent: known before the first one is, whatever happens in the run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, count, islice, repeat, takewhile
from random import Random

from nemotron_loadtest.arrivals.kinds import ClosedLoop, Constant, OpenLoop, Poisson, TraceReplay
from nemotron_loadtest.arrivals.rates import rate_of
from nemotron_loadtest.arrivals.traces import Trace, read_trace
from nemotron_loadtest.distributions import draw_delay
from nemotron_loadtest.errors import ScenarioError


def schedule(
    arrivals: OpenLoop, *, duration_s: float, seed: int, trace: Trace | None = None, worker: int = 0, workers: int = 1
) -> Iterator[float]:
    """Times at which requests are to be sent, in seconds from 0, ascending.

    Arrival k belongs to worker k % workers, so the workers' schedules together are that of one worker alone.

    Args:
        arrivals: Of an open loop.
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
        arrivals: Of the closed loop.
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
