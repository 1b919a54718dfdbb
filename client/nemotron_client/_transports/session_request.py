"""A request that rides on a session, and what is to be sent about it. Does no I/O; `session_codec` tells the rest."""

from __future__ import annotations

import contextlib
import enum
import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nemotron_client._contract import NOTHING_NEW
from nemotron_client._errors import NemotronError, ServerUnavailableError
from nemotron_client._transports import grpc_codec as codec
from nemotron_client._transports.base import Call


class Carrier(Protocol):
    """The session that a request rides on."""

    url: str

    def send(self, command: Command) -> None:
        """See `Session.send`."""


class Turn(enum.Enum):
    """What a request may hear besides its output and its error."""

    OVER = enum.auto()
    """All its output has come."""
    ENSEMBLE = enum.auto()
    """The server has no sessions, and knows nothing of the request."""


Item = dict[str, Any] | NemotronError | Turn
"""What a request hears: the outputs of a response that say something, or its end."""


class SessionRequest(ABC):
    """A request that rides on a session. The transports make a stream of responses of it.

    Attributes:
        call: The request.
        session: What it rides on; set before anything comes.
        sent: Whether the server may know of it.
        accepted: Whether the server has said that it takes it. From then on its own errors come in frames.
        left: Whether nobody reads it any more.
        over: Whether nothing comes any more.
        lost: Whether that is because the session was lost, so that the server may still be at work on it.
        elsewhere: Whether it goes the ensemble way, because the server has no sessions.
    """

    session: Carrier

    def __init__(self, call: Call) -> None:
        self.call = call
        self.sent = False
        self.accepted = False
        self.left = False
        self.over = False
        self.lost = False
        self.elsewhere = False
        self.stopped = False  # a stop was sent
        self.message: Any = None  # to be sent, but for the session's key
        self._heard: deque[Callable[[], None]] = deque()
        self._asked: deque[Question] = deque()
        self._nothing, self._occasional = _outputs(call.outputs)

    @abstractmethod
    def put(self, item: Item) -> None:
        """Hand this to whoever reads. Called by the thread that reads the session, and when it is given up."""

    def values_of(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs that the call wants, as the ensemble would have sent them."""
        values = {name: entry.get(name, nothing) for name, nothing in self._nothing.items()}
        for name in self._occasional:
            if name in entry:
                values[name] = entry[name]
        return values

    def given_up(self) -> NemotronError:
        """For whoever still waits for a request that was left."""
        url = self.session.url
        return ServerUnavailableError(f"The request to {url} was given up", request_id=self.call.request_id, url=url)

    def stop(self, done: Callable[[], None]) -> None:
        """Have the server stop it; `done` is called once, when the server has answered, or needs not be asked."""
        self._heard.append(done)
        self.session.send(Stop(self))
        if self.over or (self.left and not self.sent):  # then it never is
            self.tell_stopped()

    def ask(self, call: Call, heard: Callable[[dict[str, Any]], None]) -> None:
        """Ask the server about it; `heard` is called once, with the outputs, or with none where it is over."""
        self._asked.append(Question(self, call, heard))
        self.session.send(self._asked[-1])
        if self.over:  # in the meantime
            self.tell(None)

    @property
    def asked(self) -> bool:
        """Whether the server has not answered all that was asked about it."""
        return bool(self._asked)

    def tell(self, answer: Any) -> None:
        """The server has answered a question, by this ModelInferResponse; None for one that needs no answer."""
        with contextlib.suppress(IndexError):
            while True:
                question = self._asked.popleft()
                question.heard({} if answer is None else codec.OutputReader(question.call)(answer))

    def tell_stopped(self) -> None:
        """The server has heard of the stop, or there is none to be heard."""
        with contextlib.suppress(IndexError):
            while True:
                self._heard.popleft()()


@dataclass(frozen=True)
class Stop:
    """To be sent: that a request is to end."""

    request: SessionRequest


@dataclass(frozen=True)
class Question:
    """To be sent: what is asked about a request.

    Attributes:
        request: The one it is about.
        call: What is asked, but for the session's key.
        heard: Takes the outputs of the answer.
    """

    request: SessionRequest
    call: Call
    heard: Callable[[dict[str, Any]], None]


class Note(enum.Enum):
    """To be sent, or done, by whoever sends."""

    ACKNOWLEDGE = enum.auto()
    END = enum.auto()


Command = SessionRequest | Stop | Question | Note
"""What is to be sent, in this order, once the session stands."""


@functools.cache
def _outputs(wanted: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of these outputs what says nothing, by name, and the names of those that then are not there."""
    nothing = {name: NOTHING_NEW[name] for name in wanted if name in NOTHING_NEW}
    return nothing, tuple(name for name in wanted if name not in nothing)
