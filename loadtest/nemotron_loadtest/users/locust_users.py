"""Locust's view of the users: it starts and stops them, and what they do comes from the run's load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol
from weakref import WeakKeyDictionary

from nemotron_loadtest.users import patched  # noqa: F401 - before all else

# isort: split
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from nemotron_loadtest.scenario import UserKind


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
        kind: As a scenario names it.
    """

    abstract = True
    kind: ClassVar[UserKind]

    def on_start(self) -> None:
        """Locust calls this once for each user."""
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


USERS: dict[UserKind, type[LoadUser]] = {
    "grpc_stream": GrpcStreamUser,
    "http_stream": HttpStreamUser,
    "http_generate": HttpGenerateUser,
}
