"""Sessions: what a client asks for on one gRPC stream, and all its output, in frames for all its requests together.

A client subscribes at the generating model, and the subscription stays open. The first frame has the session's key, and
with it requests come by the ensemble `session`: they are accepted or refused at once, and their output comes in the
frames. A frame costs what a response costs, so 64 requests cost little more than one. And a request and its caller are
no strangers any more: when the gRPC stream ends, in whatever way, all that was asked for on it ends too; a stop on it
reaches the server that has the request. docs/sessions.md tells the protocol.

    {"frame": 0, "session": "9f2c…"}                          the first frame
    {"frame": 7, "responses": [{"id": "a", "content": "Hi", …}, {"id": "b", "error": "… (UNAVAILABLE)"}]}
    {"frame": 9, "draining": true}                            nothing new is taken, what runs goes on to its end

Triton 2.51 keeps all that it has sent for a request until that ends. So a session that has sent much drains as well,
and its client opens another one.

A session that reads too slowly slows itself alone: frames that were not acknowledged are limited, and tokens gather
in the streams meanwhile. One that acknowledges nothing any more is ended.
"""

from __future__ import annotations

import collections
import logging
import math
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

import msgspec

from nemotron_serving.contract import ENSEMBLE_OUTPUTS
from nemotron_serving.errors import (
    EngineError,
    InvalidRequestError,
    ServingError,
    UnavailableError,
    failure,
    shortened,
    told,
)
from nemotron_serving.generation.response import Response
from nemotron_serving.generation.stream import Stream
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.fields import TextFields

_log = logging.getLogger(__name__)

_MOST_TOKENS = 256  # of one response
_MOST_LOGPROBS = 512  # of one response, with alternatives: a token of 128 spaces is 600 bytes in each
_MOST_FRAMES = 64  # that are not acknowledged
_MOST_BYTES = 4 << 20  # of them together
_FRAME_BYTES = 1 << 20  # from here on another one is begun
_RESPONSE_BYTES = 3 << 20  # gRPC takes messages of 4 MiB where nothing else is said
_TEXT_CHARACTERS = 1 << 16  # of a text in one response, which may be a prompt that is wanted back
_STALL_S = 30.0
_WORN_BYTES = 16 << 20  # that Triton keeps of a session: enough for 80 s of 64 streams with a frame every 50 ms
_KEPT_OF_A_FRAME = 1200  # bytes that Triton 2.51 keeps of a frame beside its content
_LAST_REQUESTS_S = 5.0  # for requests that are under way when the client hears that no more are taken
_SETTLED_S = 1.0
_LOOK_S = 0.1
_IDLE_LOOK_S = 1.0
_KEY_BYTES = 16

_TOTALS = {output.name for output in ENSEMBLE_OUTPUTS if output.kind == "total"}


class FrameSink(Protocol):
    """The subscription, whose caller gets the frames."""

    def send(self, frame: bytes) -> None:
        """Deliver a frame; may block for as long as Triton takes."""

    def end(self, error: ServingError | None) -> None:
        """Say that no frame follows, and why, where that is not the end of all servers. Called once, last."""

    def is_cancelled(self) -> bool:
        """Whether the caller has left."""


class Session:
    """One client's, and the outlet of all its streams. Belongs to the service's pump, but for what says otherwise.

    Attributes:
        key: Names it, and nobody else knows it.
    """

    # Measured as in OwnOutlet: 2.7 for a frame with one response, 1.3 for one with 64.
    cpu_ratio: ClassVar[float] = 2.5

    def __init__(self, sink: FrameSink, vocabulary: Vocabulary, clock: Callable[[], float]) -> None:
        self.key = secrets.token_hex(_KEY_BYTES)
        self._sink = sink
        self._vocabulary = vocabulary
        self._clock = clock
        self._streams: dict[str, Stream] = {}  # those that run or wait, by the client's id
        self._ended = False
        self._lock = threading.Lock()  # of these two
        self._fields: dict[str, TextFields] = {}
        self._responses: list[msgspec.Raw] = []  # of the next frame
        self._responses_bytes = 0
        self._next_look = 0.0
        self._number = -1  # of the last frame
        self._unread: collections.deque[int] = collections.deque()  # sizes of the last frames, not acknowledged
        self._unread_bytes = 0
        self._full_since = clock()  # or since the last acknowledgement, where it is full
        self._sent_bytes = 0
        self._takes_until = math.inf  # requests, on the clock
        self._opened_at = clock()

    @property
    def settled(self) -> bool:
        """Whether it was not opened just now, as by a client that was told to leave another one."""
        return self._clock() >= self._opened_at + _SETTLED_S

    @property
    def worn(self) -> bool:
        """Whether another one shall take its place: Triton 2.51 keeps all that it has sent until it ends."""
        return self._sent_bytes >= _WORN_BYTES

    @property
    def takes_no_more(self) -> bool:
        """Whether its client was told, and has had time to hear, that it takes no more requests. In any thread."""
        return self._clock() >= self._takes_until

    @property
    def full(self) -> bool:
        """Whether so much was sent and not acknowledged that no more is. In any thread."""
        return len(self._unread) >= _MOST_FRAMES or self._unread_bytes >= _MOST_BYTES

    @property
    def reads_no_more(self) -> bool:
        """Whether it has acknowledged nothing for a long time, and is full."""
        return self.full and self._clock() >= self._full_since + _STALL_S

    def add(self, stream: Stream) -> None:
        """See `Outlet.add`.

        Raises:
            InvalidRequestError: no id, or that of a stream that the session has; or a request for token ids alone.
            UnavailableError: the session has ended.
        """
        client_id = stream.client_id
        if not client_id:
            raise InvalidRequestError("id", "missing, expected one for each request of a session")
        if stream.settings.output is None:
            raise InvalidRequestError("session", "it is for requests of the model `session`, which have text")
        with self._lock:
            if self._ended or self.takes_no_more:
                raise _ended()
            if client_id in self._streams:
                raise InvalidRequestError("id", f"{shortened(client_id)} is that of another request of this session")
            self._streams[client_id] = stream
            self._next_look = 0.0

    def remove(self, stream: Stream) -> None:
        """See `Outlet.remove`."""
        if (fields := self._fields.pop(stream.client_id, None)) is not None:
            stream.num_reasoning_tokens = fields.num_reasoning_tokens
        with self._lock:
            del self._streams[stream.client_id]

    @property
    def empty(self) -> bool:
        """See `Outlet.empty`."""
        return not self._streams

    def is_cancelled(self) -> bool:
        """See `Outlet.is_cancelled`: that is seen for all its streams together, see `has_left`."""
        return False

    def begin(self) -> None:
        """Send the first frame."""
        self._send({"session": self.key})

    def send_news(self) -> list[Stream]:
        """See `Outlet.send_news`: in one frame, or in several where it is much."""
        over: list[Stream] = []
        while not self.full and (streams := self._with_news()):
            for number, stream in enumerate(streams, 1):
                if self._take(stream):
                    over.append(stream)
                if self.full:
                    self._put_behind(streams[:number])
                    break
            self._flush()
        return over

    def acknowledge(self, number: int) -> None:
        """The client has read the frames up to this one."""
        while self._unread and self._number - len(self._unread) < number:
            self._unread_bytes -= self._unread.popleft()
            self._full_since = self._clock()

    def tell_of_drain(self) -> None:
        """Say once that nothing new is taken soon."""
        if self._takes_until == math.inf:
            self._takes_until = self._clock() + _LAST_REQUESTS_S
            self._send({"draining": True})

    def has_left(self, now: float) -> bool:
        """Whether the client is known to be gone; asked often, and looked at now and then: a look costs 0.05 ms."""
        if now < self._next_look:
            return False
        self._next_look = now + (_LOOK_S if self._streams else _IDLE_LOOK_S)
        return self._sink.is_cancelled()

    def end(self, error: ServingError | None = None) -> list[Stream]:
        """Say that no frame follows. Returns the streams that nobody hears any more."""
        with self._lock:
            self._ended = True
        try:
            self._sink.end(error)
        except Exception:
            _log.exception("session: end not delivered")
        return list(self._streams.values())

    def _with_news(self) -> list[Stream]:
        return [one for one in list(self._streams.values()) if one.has_news and (one.finished or one.settings.stream)]

    def _put_behind(self, streams: list[Stream]) -> None:
        """These had their turn; the others come first when there is room again."""
        with self._lock:
            for stream in streams:
                self._streams[stream.client_id] = self._streams.pop(stream.client_id)

    def _take(self, stream: Stream) -> bool:
        """Take what is new into the next frame, or the frame's share of it. Returns whether nothing follows."""
        responses: list[bytes] = []
        try:
            for response in stream.take_responses(_most_tokens(stream)):
                responses += self._encoded(stream.client_id, response)
        except Exception as error:
            if not isinstance(error, EngineError):
                _log.exception("request %r (stream %d): output not read", stream.client_id, stream.stream_id)
                error = EngineError("unexpected error, see the server's log")
            stream.fail(str(error))
            stream.take_responses()  # which nobody gets
            responses.append(_encode(stream.client_id, error=told(error, repr(stream.client_id))))
        for encoded in responses:
            self._put(encoded)
        return stream.told_all

    def _encoded(self, client_id: str, response: Response) -> list[bytes]:
        if response.begins is not None:
            self._fields[client_id] = TextFields(self._vocabulary, response.begins)
        encoded = [_encode(client_id, **piece) for piece in _in_pieces(self._values(client_id, response))]
        if max(len(one) for one in encoded) > _RESPONSE_BYTES:
            raise EngineError(f"a response takes more than {_RESPONSE_BYTES >> 20} MiB, which is a session's limit")
        return encoded

    def _values(self, client_id: str, response: Response) -> dict[str, Any]:
        """The outputs that the ensemble would have in this response, but for those that say nothing."""
        if response.error is not None:
            return {"error": told(failure(response.error, refused=response.refused), repr(client_id))}
        values = self._fields[client_id].of_response(
            response.token_ids, response.logprobs, response.finish_reason or "", response.states
        )
        values |= response.counts
        return {name: value for name, value in values.items() if value or name in _TOTALS}

    def _put(self, response: bytes) -> None:
        """Put a response into the next frame; send that first where it would be too large."""
        if self._responses_bytes + len(response) > _FRAME_BYTES:
            self._flush()
        self._responses.append(msgspec.Raw(response))
        self._responses_bytes += len(response)

    def _flush(self) -> None:
        if self._responses:
            responses, self._responses, self._responses_bytes = self._responses, [], 0
            self._send({"responses": responses})

    def _send(self, what: dict[str, Any]) -> None:
        self._number += 1
        frame = msgspec.json.encode({"frame": self._number} | what)
        if not self.full:
            self._full_since = self._clock()
        self._unread.append(len(frame))
        self._unread_bytes += len(frame)
        self._sent_bytes += len(frame) + _KEPT_OF_A_FRAME
        self._sink.send(frame)


class Sessions:
    """Those that are open. Its methods are for all threads.

    Args:
        vocabulary: To read token ids with.
        clock: Gives seconds.
        most: So many at the same time.
    """

    def __init__(self, vocabulary: Vocabulary, clock: Callable[[], float], most: int = 1024) -> None:
        self._vocabulary = vocabulary
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._by_key: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        with self._lock:
            return iter(list(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def open(self, sink: FrameSink) -> Session:
        """A new one.

        Raises:
            UnavailableError: there are too many.
        """
        session = Session(sink, self._vocabulary, self._clock)
        with self._lock:
            if len(self._by_key) >= self._most:
                raise UnavailableError(f"This server has {self._most} sessions, which is its limit; try again later.")
            self._by_key[session.key] = session
        return session

    def named(self, key: str) -> Session:
        """The one with this key.

        Raises:
            UnavailableError: there is none.
        """
        session = self._by_key.get(key)
        if session is None:
            raise _ended()
        return session

    def remove(self, session: Session) -> bool:
        """Forget one that has ended; returns whether it was here."""
        with self._lock:
            return self._by_key.pop(session.key, None) is not None


def _encode(client_id: str, **values: Any) -> bytes:
    return msgspec.json.encode({"id": client_id, **values})


def _most_tokens(stream: Stream) -> int:
    logprobs = stream.settings.sampling.logprobs
    return _MOST_TOKENS if logprobs is None else max(1, _MOST_LOGPROBS // (1 + logprobs))


def _ended() -> UnavailableError:
    return UnavailableError("This session has ended, or is another server's; open a new one.")


def _in_pieces(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """These outputs in one response, or in several where a text is long: all but the last have no other text."""
    text = values.get("text_output", "")
    if len(text) > _TEXT_CHARACTERS:
        totals = {name: value for name, value in values.items() if name in _TOTALS}
        begin = 0
        while len(text) - begin > _TEXT_CHARACTERS:
            yield totals | {"text_output": text[begin : begin + _TEXT_CHARACTERS]}
            begin += _TEXT_CHARACTERS
        values = values | {"text_output": text[begin:]}
    yield values
