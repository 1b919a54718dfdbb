"""Sends requests and makes a sample of each: what the kinds of users have in common. Knows nothing of Locust."""

from __future__ import annotations

import contextlib
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nemotron_client import Reply, RequestTimeoutError, Usage
from nemotron_loadtest.run.clock import RunClock
from nemotron_loadtest.samples import Arrival, Outcome, Sample
from nemotron_loadtest.scenario import UserKind
from nemotron_loadtest.workload import RequestSpec

OnSample = Callable[[Sample], None]


@dataclass
class Answer:
    """What has come of an answer.

    Attributes:
        arrivals: See `Sample`, as the others.
        first_answer_s: See `Sample`.
        usage: Token counts; None before the first response.
        reply: All of it, once it is whole.
    """

    arrivals: tuple[Arrival, ...] = ()
    first_answer_s: float | None = None
    usage: Usage | None = None
    reply: Reply | None = None

    @property
    def finish_reason(self) -> str:
        """See `Sample`."""
        return self.reply.finish_reason if self.reply else ""


@dataclass(eq=False)
class Running:
    """A request on its way.

    Attributes:
        request_id: Its name on the server.
        abort: Ends it here and on the server, without waiting; set once there is something to end.
        left: Why its user has left.
    """

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    abort: Callable[[], None] | None = None
    left: Outcome | None = None

    def leave(self, outcome: Outcome) -> None:
        """Do not wait for the answer any longer."""
        if self.left is None:
            self.left = outcome
            if self.abort is not None:
                self.abort()


class Asker(ABC):
    """Asks a server. Calls run side by side, in threads or in greenlets.

    Every request ends as one sample, which `on_sample` is given: also one that fails, and one whose greenlet is killed.
    """

    def __init__(self, kind: UserKind, clock: RunClock, on_sample: OnSample, worker: str = "0") -> None:
        self._kind: UserKind = kind
        self._clock = clock
        self._on_sample = on_sample
        self._worker = worker
        self._running: set[Running] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return len(self._running)

    def ask(self, spec: RequestSpec, intended_s: float | None = None) -> Reply | None:
        """Send a request and wait for the answer.

        Args:
            spec: What to send.
            intended_s: When it should have been sent; None for now.

        Returns:
            The answer; None if it failed or the user left.
        """
        running, answer, error_type = Running(), Answer(), ""
        self._running.add(running)
        started = self._clock.now()
        try:
            with _leaving_after(running, spec.cancel_after_s):
                self._send(spec, running, answer)
        except Exception as error:  # a mistake in the scenario's options too: a run in which all fails ends
            error_type = type(error).__name__
        except BaseException:  # the greenlet is killed
            running.leave("incomplete")
            raise
        finally:
            self._running.discard(running)
            intended = started if intended_s is None else intended_s
            sample = self._sample(spec, running, answer, error_type, (intended, started))
            self._on_sample(sample)
        return answer.reply if sample.outcome == "ok" else None

    def cut(self) -> None:
        """End all that is on its way, here and on the server: it is incomplete."""
        for running in list(self._running):
            running.leave("incomplete")

    @abstractmethod
    def close(self) -> None:
        """End the connections."""

    @abstractmethod
    def _send(self, spec: RequestSpec, running: Running, answer: Answer) -> None:
        """Send a request, give `running` its `abort`, and fill in the answer as it comes.

        Raises:
            NemotronError: the request failed, or was aborted.
        """

    def _sample(
        self, spec: RequestSpec, running: Running, answer: Answer, error_type: str, begin: tuple[float, float]
    ) -> Sample:
        outcome, error_type = _verdict(running, answer, error_type)
        usage = answer.usage or Usage(0, 0, 0)
        return Sample(
            request_id=running.request_id,
            user=self._kind,
            thinking=spec.thinking,
            turn=spec.turn,
            intended_s=begin[0],
            started_s=begin[1],
            first_answer_s=answer.first_answer_s,
            ended_s=self._clock.now(),
            arrivals=answer.arrivals,
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cached_tokens=usage.cached_tokens,
            finish_reason=answer.finish_reason,
            outcome=outcome,
            error_type=error_type,
            worker=self._worker,
        )


def _verdict(running: Running, answer: Answer, error_type: str) -> tuple[Outcome, str]:
    """The outcome and the type of the error. Whoever leaves too late has got a whole answer."""
    if answer.finish_reason == "timeout":
        return "error", RequestTimeoutError.__name__  # a part of an answer, cut off by the server
    if answer.finish_reason not in ("", "cancelled"):
        return "ok", ""
    if running.left is not None:
        return running.left, ""
    # A server that is shutting down cancels what still runs at the end of its drain time.
    return "error", error_type or "ServerUnavailableError"


@contextlib.contextmanager
def _leaving_after(running: Running, seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, running.leave, ["cancelled"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
