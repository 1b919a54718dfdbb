"""What the clients for threads and for asyncio decide alike: the life of a client, and of each request. Does no I/O."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nemotron_client import _telemetry
from nemotron_client._answer import AnswerReader
from nemotron_client._errors import NemotronError, ServerUnavailableError, StreamClosedError
from nemotron_client._formats import format_of
from nemotron_client._request import cancel_call, end_thinking_call, without_unknown_output
from nemotron_client._retries import Attempts, Replicas, may_be_at_work
from nemotron_client._settings import Settings
from nemotron_client._timeouts import Deadline
from nemotron_client._transports import Call
from nemotron_client._types import Event, Reply, Usage

_logger = logging.getLogger("nemotron_client")


@dataclass(frozen=True)
class Sequel:
    """What follows when a try has failed.

    Attributes:
        delay_s: Seconds until the request is sent again.
        error: Why it is not sent again, for the caller to see; None where it is.
        also_stop: The index of a server that may still be at work on the try, though nobody reads it; None for none.
    """

    delay_s: float = 0.0
    error: NemotronError | None = None
    also_stop: int | None = None


class ExchangeState:
    """Where a request stands.

    Attributes:
        call: What is sent.
        deadline: When it is given up.
        closed: The program has closed the stream.
        error: What the caller got to see.
    """

    def __init__(self, replicas: Replicas, settings: Settings, call: Call, response_format: Any) -> None:
        self.call = replace(call, compression=settings.compression)
        self.closed = False
        self.error: NemotronError | None = None
        self._response_format = response_format
        self._span = _telemetry.Span()
        self._timeouts = settings.timeouts
        self._replicas = replicas
        self._attempts = Attempts(replicas, settings.max_retries, request_id=call.request_id)
        self.begin()

    def begin(self) -> None:
        """Start the clocks, as the constructor does. For a request that is made now and sent later."""
        now = time.perf_counter()
        self.deadline = Deadline(self._timeouts, now)
        self._reader = AnswerReader(self.call.request_id, now)

    @property
    def reply(self) -> Reply | None:
        """The whole answer, once it is there."""
        return self._reader.reply

    @property
    def usage(self) -> Usage | None:
        """The token counts of what has come; None before the first response."""
        return self._reader.usage

    @property
    def thinking_budget_reached(self) -> bool:
        """Whether what has come says so, see `Reply`."""
        return self._reader.thinking_budget_reached

    @property
    def package(self) -> str:
        """The package that answers; empty before the first response, and where the server does not say."""
        return self._reader.package

    @property
    def arrivals(self) -> tuple[tuple[float, int], ...]:
        """When each response with new tokens came, in seconds of `time.perf_counter`, and the output tokens so far."""
        return tuple(self._reader.arrivals)

    @property
    def replica(self) -> int:
        """The index of the server that has the request."""
        return self._attempts.replica

    @property
    def over(self) -> bool:
        """Whether there is nothing to cancel."""
        return self._reader.reply is not None or self.error is not None

    @property
    def given_up(self) -> bool:
        """Whether the program or the clock has ended the request."""
        return self.closed or self.deadline.expired is not None

    def prepare(self, headers: Mapping[str, str]) -> Call:
        """The call to send now, with headers made for it."""
        self.call = replace(self.call, headers=self._span.headers(self.call, headers))
        return self.call

    def cancel_call(self) -> Call:
        """The call that stops this one."""
        return cancel_call(self.call.request_id, self.call.headers)

    def end_thinking_call(self) -> Call:
        """The call that has this one answer now."""
        return end_thinking_call(self.call.request_id, self.call.headers)

    def events_of(self, values: Mapping[str, Any]) -> list[Event]:
        """The events of a response."""
        self.deadline.resting()
        if not self._reader.started:
            self._replicas.worked(self._attempts.replica)
        return self._reader.events_of(values, time.perf_counter())

    def after(self, error: NemotronError) -> Sequel:
        """What follows when a try has failed. Another one, if there is one, goes to `replica`."""
        if self.given_up:  # which has sent its own cancel
            reason = self.reason()
            reason.__suppress_context__ = True  # how the try has ended then is of no interest
            return Sequel(error=reason)
        failed = self.replica if may_be_at_work(error) else None
        if self._reader.started:
            return Sequel(error=error, also_stop=failed)
        if (known := without_unknown_output(self.call, error)) is not None:  # nothing of it has begun there
            self.call = known
            self.deadline.resting()
            return Sequel()
        try:
            delay = self._attempts.again_after(error, self.deadline.total_at - time.perf_counter())
        except NemotronError as verdict:
            return Sequel(error=verdict, also_stop=failed)
        self.deadline.resting()
        # A cancel at the same server could stop the next try, which has the same id.
        return Sequel(delay, also_stop=None if self.replica == failed else failed)

    def reason(self) -> NemotronError:
        """Why the request was given up."""
        if self.deadline.expired:
            return self.deadline.error(request_id=self.call.request_id, url=self._url)
        message = "The stream was closed before its end. Read to the end, or call get_final, before you close it."
        return StreamClosedError(message, request_id=self.call.request_id, url=self._url)

    def ended_early(self) -> NemotronError:
        """For responses that end without a finish reason."""
        message = f"{self._url} ended the answer without a finish reason; it is probably shutting down"
        return ServerUnavailableError(message, request_id=self.call.request_id, url=self._url)

    def final(self) -> Reply:
        """The reply, once all events were read; else why there is none.

        Raises:
            ParseError: the reply is not the object that was asked for.
        """
        if self._reader.reply is None:
            raise self.error or self.reason()
        if self._response_format is None:
            return self._reader.reply
        return format_of(self._response_format).parsed(self._reader.reply, self._url)

    def log_end(self) -> None:
        """Ids, counts and timings; never text."""
        self._span.end(self._url, self._reader.reply, self.error)
        if reply := self._reader.reply:
            usage, seconds = reply.usage, reply.timings.total_s
            counts = (usage.prompt_tokens, usage.output_tokens, seconds)
            message = "request %s: %s, %d prompt tokens, %d output tokens in %.3f s"
            _logger.debug(message, self.call.request_id, reply.finish_reason, *counts)
        else:
            reason = type(self.error or self.reason()).__name__
            _logger.debug("request %s at %s: %s", self.call.request_id, self._url, reason)

    @property
    def _url(self) -> str:
        return self._replicas.urls[self._attempts.replica]


CLOSED = "The client is closed, expected one that is open"
FORKED = "The client was made before a fork, expected one that this process has made itself"


class Living:
    """The life of a client and its copies.

    Attributes:
        replicas: Its servers.
        ended: Why no further request is sent; empty as long as they are.
    """

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.ended = ""
        _living.add(self)

    def check(self, request_id: str = "") -> None:
        """Go on only while the client lives.

        Raises:
            StreamClosedError: it has ended.
        """
        if self.ended:
            raise StreamClosedError(self.ended, request_id=request_id, url=", ".join(self.replicas.urls))

    def at_exit(self) -> None:
        """The process ends, and the client was not closed."""

    def disown(self) -> None:
        """This process is a fork of the client's: the connections, and what runs on them, are the other's."""
        self.ended = FORKED


_living: weakref.WeakSet[Living] = weakref.WeakSet()


def _end_all() -> None:
    for one in list(_living):
        one.at_exit()


def _disown_all() -> None:
    for one in list(_living):
        one.disown()
    _living.clear()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_disown_all)
