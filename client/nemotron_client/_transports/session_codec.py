"""The client's side of a session: what it sends, and what the responses mean for its requests. Does no I/O.

A session is one gRPC stream for many requests: their output comes in frames for all of them, stops go the same way, and
the server ends what runs on it when the stream ends. docs/sessions.md has the protocol.

`Session` and `SessionRequest` decide; the transports for threads and for asyncio add how they wait and send. Methods
may be called by several threads where nothing else is said: one reads, one sends, the others add requests, ask about
them and leave them. Leaving one may happen in a finalizer, in the middle of anything, so it takes no lock.
"""

from __future__ import annotations

import enum
import json
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2

from nemotron_client._contract import ACCEPTED_OUTPUTS, GENERATING_MODEL, SESSION_MODEL
from nemotron_client._errors import NemotronError, ServerError, ServerUnavailableError, from_status, from_stream_error
from nemotron_client._transports import grpc_codec as codec
from nemotron_client._transports.base import Call
from nemotron_client._transports.session_request import Command, Item, Note, Question, SessionRequest, Stop, Turn

# The server waits at 64 frames, or 4 MiB of them, that were not acknowledged.
_ACKNOWLEDGED_FRAMES = 16
_ACKNOWLEDGED_BYTES = 1 << 20
# What ends a session that stands may let the next one through, but for these.
_LASTING = ("PERMISSION_DENIED", "UNAUTHENTICATED")
# What grpc.aio says in place of the status, where the other side has ended the stream while we write.
_RACE = "Internal error from Core"

ErrorOf = Callable[[str], NemotronError]
"""Makes the error of the request with this id."""


class Outcome(enum.Enum):
    """What the opening of a session has come to."""

    STANDS = enum.auto()
    FAILED = enum.auto()
    WITHOUT = enum.auto()
    """The server has no sessions."""


@dataclass(frozen=True)
class Terms:
    """What a session is made with.

    Attributes:
        url: The server.
        headers: Those of all its requests.
        compression: That of all its requests.
        retires_at: When it stops to take requests, on the clock of whoever chooses among sessions.
        patience_s: A server that has not opened it by then counts as one without sessions.
        settled: Called once, by any thread, when the session stands or is known never to.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    compression: str | None
    retires_at: float
    patience_s: float
    settled: Callable[[Outcome], None]


class Session(ABC):
    """One session.

    Attributes:
        terms: What it was made with.
        url: The server.
        key: Names it to the server; empty until it stands.
        accepting: Whether it takes further requests.
        over: Whether nothing comes on it any more.
        requests: Those that have not ended, by id.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.url = terms.url
        self.key = ""
        self.accepting = True
        self.over = False
        self.requests: dict[str, SessionRequest] = {}
        self._id = uuid.uuid4().hex
        self._lock = threading.Lock()  # guards `accepting`, and `requests` against additions
        self._read = 0  # the number of the last frame
        self._acknowledged = 0
        self._frames = 0  # since the last acknowledgement was asked for
        self._bytes = 0

    @abstractmethod
    def send(self, command: Command) -> None:
        """Have this sent once the session stands. Never waits."""

    @abstractmethod
    def start(self) -> None:
        """Open it, without waiting. Called once.

        Raises:
            RuntimeError: no more can be opened, as the interpreter ends.
        """

    @abstractmethod
    def began(self) -> None:
        """The session stands: what waits may be sent."""

    @abstractmethod
    def abandon(self) -> None:
        """End it, from any thread, without waiting. May be called by a finalizer."""

    def add(self, request: SessionRequest) -> bool:
        """Let a request ride; whether it does. It does not where another one with its id does.

        Raises what `codec.infer_request` does, for a value that is too large for its tensor.
        """
        request_id = request.call.request_id
        request.message = codec.infer_request(
            replace(request.call, model=SESSION_MODEL, outputs=tuple(ACCEPTED_OUTPUTS))
        )
        with self._lock:
            if not self.accepting or request_id in self.requests:
                return False
            request.session = self
            self.requests[request_id] = request
        self.send(request)
        return True

    def retire(self) -> None:
        """Take no more requests, and end with the last that rides."""
        with self._lock:
            self.accepting = False
        self._end_if_empty()

    def leave(self, request: SessionRequest) -> None:
        """Nobody reads this one any more. May be called by a finalizer."""
        self.send(Stop(request))

    def opening(self) -> Any:
        """The first message."""
        call = Call(GENERATING_MODEL, self._id, {"open_session": True}, ("frame",))
        message = codec.infer_request(call)
        message.parameters["triton_enable_empty_final_response"].bool_param = True  # else nothing tells of a clean end
        return message

    def message_for(self, command: Command) -> Any:
        """The message that is to be sent; None if there is no need any more. Called by whoever sends."""
        if isinstance(command, SessionRequest):
            return self._request(command)
        if isinstance(command, Stop):
            return self._stop(command.request)
        if isinstance(command, Question):
            return self._question(command)
        if self._acknowledged == self._read:
            return None
        self._acknowledged = self._read
        inputs = {"session": self.key, "acknowledged": self._acknowledged}
        return codec.infer_request(Call(GENERATING_MODEL, "", inputs, ()))

    def take(self, message: bytes) -> None:
        """Read a response. Called by whoever reads."""
        try:
            self._take(service_pb2.ModelStreamInferResponse.FromString(message))
        except (DecodeError, LookupError, TypeError, ValueError):  # before it stands other servers answer so
            self.end(self._garbage if self.key else None)

    def end(self, error_of: ErrorOf | None) -> None:
        """Nothing comes any more.

        Args:
            error_of: Why, for each request that rides; None where the server has no sessions.
        """
        with self._lock:
            settles = not self.key and not self.over
            self.accepting = False
            self.over = True
        if settles:
            self.terms.settled(Outcome.WITHOUT if error_of is None else Outcome.FAILED)
        for request_id, request in list(self.requests.items()):
            request.lost = bool(self.key) and request.sent
            request.elsewhere = error_of is None
            self._finish(request_id, request, Turn.ENSEMBLE if error_of is None else error_of(request_id))

    def lost(self, error: Any) -> None:
        """`end`, for a stream that gRPC has ended with this error."""
        status, details = error.code().name, error.details() or ""
        if (self.key and status not in _LASTING) or _RACE in details:
            status = "UNAVAILABLE"  # the next session may stand, and what has not begun is tried again
        self.end(lambda request_id: from_status(status, details, request_id=request_id, url=self.url))

    def ended(self) -> None:
        """`end`, for a stream that the server has ended without an error."""
        self.end(self._ended)

    def _request(self, request: SessionRequest) -> Any:
        if request.left:
            self._finish(request.call.request_id, request, Turn.OVER)
            return None
        request.sent = True
        message, request.message = request.message, None
        codec.add_input(message, "session", self.key)
        return message

    def _stop(self, request: SessionRequest) -> Any:
        if request.over or request.stopped or not request.sent:
            return None
        request.stopped = True
        inputs = {"stop": True, "session": self.key}
        return codec.infer_request(Call(GENERATING_MODEL, request.call.request_id, inputs, ("finish_reason",)))

    def _question(self, question: Question) -> Any:
        if question.request.over or not question.request.sent:
            question.request.tell(None)
            return None
        call = question.call
        return codec.infer_request(replace(call, inputs={**call.inputs, "session": self.key}))

    def _take(self, response: Any) -> None:
        answer = response.infer_response
        if self.over:
            return
        if response.error_message:
            self._take_error(answer.id, response.error_message)
        elif answer.id != self._id:
            request = self.requests.get(answer.id)
            if request is None:
                return
            if answer.outputs[0].name in ACCEPTED_OUTPUTS:
                request.accepted = True
            elif answer.outputs[0].name != "finish_reason":
                request.tell(answer)
            elif request.stopped:
                request.tell_stopped()
        elif answer.raw_output_contents:
            self._take_frame(answer.raw_output_contents[0])
        else:
            self.end(self._ended)

    def _take_frame(self, raw: bytes) -> None:
        frame = json.loads(raw[4:].decode())
        self._read = frame["frame"]
        for entry in frame.get("responses", ()):
            request = self.requests.get(entry["id"])
            if request is None:
                continue
            if "error" in entry:
                self._fail(request, entry["error"])
                continue
            request.accepted = True
            if not request.left:
                request.put(entry)
            if entry.get("finish_reason"):
                self._finish(entry["id"], request, Turn.OVER)
        if "session" in frame:
            self.key = frame["session"]
            self.began()
            self.terms.settled(Outcome.STANDS)
        if "draining" in frame:
            self.retire()
        self._count(len(raw))

    def _count(self, size: int) -> None:
        self._frames += 1
        self._bytes += size
        if self._frames >= _ACKNOWLEDGED_FRAMES or self._bytes >= _ACKNOWLEDGED_BYTES:
            self._frames = self._bytes = 0
            self.send(Note.ACKNOWLEDGE)

    def _take_error(self, request_id: str, message: str) -> None:
        request = self.requests.get(request_id)
        if request is not None and request.accepted and request.asked:
            request.tell(None)  # a server that does not know the question: the answer goes on
        elif request is not None:
            self._fail(request, message)
        elif request_id in ("", self._id) or not self.key:  # of the session, or of an acknowledgement, which it needs
            self._fail_all(message)

    def _fail(self, request: SessionRequest, message: str) -> None:
        request_id = request.call.request_id
        self._finish(request_id, request, from_stream_error(message, request_id=request_id, url=self.url))

    def _fail_all(self, message: str) -> None:
        if self.key:
            text = f"{self.url} has ended the session: {message}"
            self.end(lambda request_id: ServerUnavailableError(text, request_id=request_id, url=self.url))
        elif message.endswith("(UNAVAILABLE)"):  # full, or shutting down
            self.end(lambda request_id: from_stream_error(message, request_id=request_id, url=self.url))
        else:
            self.end(None)

    def _finish(self, request_id: str, request: SessionRequest, item: Item) -> None:
        self.requests.pop(request_id, None)
        request.over = True
        if not request.left:
            request.put(item)
        request.tell_stopped()
        request.tell(None)
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        with self._lock:
            empty = not self.accepting and not self.requests
        if empty:
            self.over = True
            self.send(Note.END)

    def _ended(self, request_id: str) -> NemotronError:
        message = f"{self.url} has ended the session; it is probably shutting down"
        return ServerUnavailableError(message, request_id=request_id, url=self.url)

    def _garbage(self, request_id: str) -> NemotronError:
        message = f"{self.url} sent a response that is not Triton's. Does a Triton server answer there?"
        return ServerError(message, request_id=request_id, url=self.url)
