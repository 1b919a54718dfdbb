"""Servers that exist only on paper, with a capacity that is known: c places, each taking the same time a request."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator

from nemotron_loadtest.samples import Arrival, Sample

TOKENS = 10


class PaperServer:
    """First come, first served; may stand still for a while.

    Args:
        places: Requests served at once.
        takes_s: Time of each.
        stall: From when, and how long, no request is begun.
    """

    def __init__(self, places: int, takes_s: float, stall: tuple[float, float] | None = None) -> None:
        self._free_at = [0.0] * places
        self._takes_s = takes_s
        self._stall = stall

    def serve(self, at_s: float, number: int) -> Sample:
        """A request; they have to come in order."""
        begins_s = max(at_s, heapq.heappop(self._free_at))
        if self._stall and self._stall[0] <= begins_s < sum(self._stall):
            begins_s = sum(self._stall)
        ends_s = begins_s + self._takes_s
        heapq.heappush(self._free_at, ends_s)
        first_s = begins_s + self._takes_s / 10
        return Sample(
            request_id=str(number),
            user="grpc_stream",
            thinking=number % 2 == 0,
            intended_s=at_s,
            started_s=at_s,
            first_answer_s=first_s,
            ended_s=ends_s,
            arrivals=(Arrival(first_s, 1), Arrival(ends_s, TOKENS)),
            prompt_tokens=10,
            output_tokens=TOKENS,
            finish_reason="stop",
            outcome="ok",
        )


def poisson(rate_per_s: float, seconds: float, seed: int) -> Iterator[float]:
    """Random arrivals."""
    rng = random.Random(seed)
    at_s = rng.expovariate(rate_per_s)
    while at_s < seconds:
        yield at_s
        at_s += rng.expovariate(rate_per_s)


def open_loop(server: PaperServer, rate_per_s: float, seconds: float, seed: int = 0) -> list[Sample]:
    """Arrivals that wait for nobody."""
    return [server.serve(at_s, number) for number, at_s in enumerate(poisson(rate_per_s, seconds, seed))]


def closed_loop(server: PaperServer, users: int, seconds: float) -> list[Sample]:
    """Users who send the next request when the last is answered."""
    ready = [0.0] * users
    samples: list[Sample] = []
    while (at_s := heapq.heappop(ready)) < seconds:
        samples.append(server.serve(at_s, len(samples)))
        heapq.heappush(ready, samples[-1].ended_s)
    return samples
