"""Locust's view of a run: its users, which do what the run's load says, and the rows that it shows of their requests.

Locust starts and stops the users. Its rows round times to two digits; every verdict and report of ours is worked out
from the samples instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import ClassVar, Protocol
from weakref import WeakKeyDictionary

from nemotron_loadtest.users import patched  # noqa: F401 - before all else

# isort: split
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.metrics import FIRST_ANSWER, ITL, TTFT, Metric
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.scenario import UserKind

METRIC = "METRIC"
"""The type of rows that are figures of requests and no requests: they are in none of Locust's totals."""


class Rounds(Protocol):
    """What the users of a run do."""

    def rounds(self) -> Iterator[None]:
        """What one user does, a round at a time, until the end."""


_of: WeakKeyDictionary[Environment, Rounds] = WeakKeyDictionary()


def give_work(environment: Environment, work: Rounds) -> None:
    """Say what the users of this environment do."""
    _of[environment] = work


class LoadUser(User):
    """A user of the load test.

    Attributes:
        kind: Its name in a scenario.
    """

    abstract = True
    kind: ClassVar[UserKind]

    def on_start(self) -> None:
        """Locust calls this once for each user, also of a run that could not be prepared."""
        if self.environment not in _of:
            raise StopUser
        self._rounds = _of[self.environment].rounds()

    @task
    def round(self) -> None:
        """A conversation; or in an open loop, whose requests wait for nobody, all of the run."""
        for _ in self._rounds:
            return
        raise StopUser


class GrpcStreamUser(LoadUser):
    """Reads the answer while it is written, over gRPC."""

    kind = "grpc_stream"


class HttpStreamUser(LoadUser):
    """Reads the answer while it is written, over HTTP."""

    kind = "http_stream"


class HttpGenerateUser(LoadUser):
    """Waits for the whole answer, over HTTP."""

    kind = "http_generate"


class OpenAIStreamUser(LoadUser):
    """Reads the answer while it is written, over OpenAI's API."""

    kind = "openai_stream"


USERS: dict[UserKind, type[LoadUser]] = {
    "grpc_stream": GrpcStreamUser,
    "http_stream": HttpStreamUser,
    "http_generate": HttpGenerateUser,
    "openai_stream": OpenAIStreamUser,
}


class FailedError(Exception):
    """What a row of Locust's shows of a request that failed."""


def show(environment: Environment, sample: Sample, clock: RunClock) -> None:
    """Give a sample to Locust."""
    name = f"thinking {'on' if sample.thinking else 'off'}"
    environment.events.request.fire(
        request_type="GRPC" if sample.user.startswith("grpc") else "HTTP",
        name=name,
        response_time=1000 * (sample.ended_s - sample.started_s),
        response_length=sample.output_tokens,
        exception=_failure(sample),
        context={},
        start_time=time.time() - clock.now() + sample.started_s,
    )
    for metric, milliseconds in _metrics(sample):
        # Not as an event: that would count it as one more request in the row "Aggregated" and in the charts.
        environment.stats.get(f"{name}: {metric}", METRIC).log(round(milliseconds), 0)


def _failure(sample: Sample) -> Exception | None:
    if sample.outcome in ("ok", "cancelled"):
        return None
    return FailedError(sample.error_type or sample.outcome)


def _metrics(sample: Sample) -> Iterator[tuple[str, float]]:
    found: list[tuple[Metric, float | None]] = [
        (TTFT, TTFT.of(sample, "actual")),
        (FIRST_ANSWER, FIRST_ANSWER.of(sample, "actual")),
        (ITL, ITL.of(sample)),
    ]
    for metric, value in found:
        if value is not None:
            yield metric.title, value
