"""Sends requests and makes a sample of each: for each kind of user an `Asker`. Knows nothing of Locust."""

from __future__ import annotations

import contextlib
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from nemotron_client import (
    ChatStream,
    Client,
    LogprobsDelta,
    NemotronError,
    ReasoningDelta,
    Reply,
    RequestTimeoutError,
    ServerUnavailableError,
    Usage,
)
from nemotron_client._answer import AnswerReader
from nemotron_client._errors import from_stream_error
from nemotron_client._request import chat_call, generate_call
from nemotron_client._transports import Call
from nemotron_client._transports.http_codec import generate_body, refusal
from nemotron_loadtest.clock import RunClock
from nemotron_loadtest.samples import Arrival, Counted, Outcome, Sample
from nemotron_loadtest.scenario import UserKind
from nemotron_loadtest.workload import RequestSpec

OnSample = Callable[[Sample], None]
_GENERATE_S = 600.0
_OK = 200


@dataclass
class Answer:
    """What has come of an answer.

    Attributes:
        arrivals: See `Sample`, as the others but the last.
        reply: All of it, once it is whole.
    """

    arrivals: tuple[Arrival, ...] = ()
    first_answer_s: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int | None = 0
    cached_tokens: int | None = None
    counted: Counted = "each"
    reply: Reply | None = None

    def count(self, usage: Usage | None) -> None:
        """Take over the client's counts; None before the first response."""
        if usage is not None:
            self.prompt_tokens, self.output_tokens = usage.prompt_tokens, usage.output_tokens
            self.reasoning_tokens, self.cached_tokens = usage.reasoning_tokens, usage.cached_tokens

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
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            cached_tokens=answer.cached_tokens,
            counted=answer.counted,
            finish_reason=answer.finish_reason,
            outcome=outcome,
            error_type=error_type,
            worker=self._worker,
        )


class StreamAsker(Asker):
    """Users who read the answer while it is written, over gRPC or HTTP.

    All requests of a process share one client, as a program's would. Its retries are off: a failure is a result.
    """

    def __init__(self, client: Client, kind: UserKind, clock: RunClock, on_sample: OnSample, worker: str = "0") -> None:
        super().__init__(kind, clock, on_sample, worker)
        self._client = client.with_options(max_retries=0)

    def close(self) -> None:
        """See `Asker.close`. Cancels that are under way are sent."""
        self._client.close()

    def _send(self, spec: RequestSpec, running: Running, answer: Answer) -> None:
        with self._open(spec, running.request_id) as stream:
            running.abort = stream.close
            if running.left is not None:  # before there was something to abort
                return
            try:
                for event in stream:
                    if answer.first_answer_s is None and not isinstance(event, ReasoningDelta | LogprobsDelta):
                        answer.first_answer_s = self._clock.now()
                answer.reply = stream.get_final()
            finally:
                answer.arrivals = tuple(Arrival(self._clock.at(at), tokens) for at, tokens in stream.arrivals)
                answer.count(stream.usage_so_far)

    def _open(self, spec: RequestSpec, request_id: str) -> ChatStream:
        options = {**spec.options, "request_id": request_id}
        if spec.prompt is not None:
            return self._client.stream_generate(spec.prompt, **options)
        return self._client.stream_chat(spec.messages, thinking=spec.thinking, **options)


class GenerateAsker(Asker):
    """Users who wait for the whole answer: Triton's `/generate`, which has no stream. They cannot see a first token.

    All requests of a process share a pool of connections. The client is for cancels.
    """

    def __init__(self, client: Client, url: str, clock: RunClock, on_sample: OnSample, worker: str = "0") -> None:
        super().__init__("http_generate", clock, on_sample, worker)
        self._client = client
        self._url = url.rstrip("/")
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx2.Client(timeout=httpx2.Timeout(_GENERATE_S, pool=None), limits=limits, trust_env=False)

    def close(self) -> None:
        """See `Asker.close`."""
        self._http.close()
        self._client.close()

    def _send(self, spec: RequestSpec, running: Running, answer: Answer) -> None:
        cancelling = threading.Thread(target=self._client.cancel, args=[running.request_id], daemon=True)
        running.abort = cancelling.start
        if running.left is not None:  # before there was something to abort
            return
        reader = AnswerReader(running.request_id, self._clock.now())
        values = self._post(_whole_call(spec, running.request_id))
        now = self._clock.now()
        reader.events_of(values, now)
        answer.reply = reader.reply
        answer.count(reader.usage)
        answer.arrivals = tuple(Arrival(at, tokens) for at, tokens in reader.arrivals)
        if reader.reply and (reader.reply.content or reader.reply.tool_calls):
            answer.first_answer_s = now

    def _post(self, call: Call) -> dict[str, Any]:
        where = {"request_id": call.request_id, "url": self._url}
        try:
            response = self._http.post(
                f"{self._url}/v2/models/{call.model}/generate",
                content=generate_body(call),
                headers={"content-type": "application/json"},
            )
        except httpx2.TimeoutException:
            raise RequestTimeoutError("No answer in time", phase="total", **where) from None
        except httpx2.TransportError as error:
            raise ServerUnavailableError(f"The server cannot be reached ({error})", **where) from None
        if response.status_code != _OK:
            raise _failure(response, **where)
        values: dict[str, Any] = response.json()
        return values


def _failure(response: httpx2.Response, **where: str) -> NemotronError:
    """Whatever the HTTP status is: the ensemble's models end their messages with their own, as in a stream."""
    try:
        message = str(response.json()["error"])
    except (ValueError, TypeError, KeyError):  # a gateway's
        kind = response.headers.get("content-type", "")
        return refusal(response.status_code, kind, response.content, **where)
    return from_stream_error(message, **where)


def _whole_call(spec: RequestSpec, request_id: str) -> Call:
    """The client's own call, for one response in the place of a stream."""
    options = {**spec.options, "request_id": request_id}
    if spec.prompt is not None:
        call = generate_call(spec.prompt, options)
    else:
        call = chat_call(spec.messages, {**options, "thinking": spec.thinking})
    return replace(call, inputs={name: value for name, value in call.inputs.items() if name != "stream"})


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
