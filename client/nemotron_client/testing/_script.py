"""The script behind a mock transport or a fake server: which reply a request gets, and a record of what came."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nemotron_client.testing._replies import Fault, RecordedRequest, ScriptedReply

Answer = str | Fault | ScriptedReply
"""A text is a reply with this content; a Fault is a request that fails."""
Function = Callable[[RecordedRequest], Answer]
Replies = Answer | Function | Sequence[Answer | Function]


class UnscriptedRequestError(AssertionError):
    """A request came for which the script has no reply. The message says what came and what is left."""


@dataclass
class _Entry:
    answer: ScriptedReply | Function
    left: float

    def fits(self, request: RecordedRequest) -> bool:
        match = self.answer.match if isinstance(self.answer, ScriptedReply) else ""
        if callable(match):
            return match(request)
        return re.search(match, request.text) is not None

    def __str__(self) -> str:
        what = str(self.answer) if isinstance(self.answer, ScriptedReply) else f"the function {self.answer!r}"
        return what if self.left == 1 else f"{what}, {'any number of' if self.left == math.inf else self.left:g} times"


class Playing(Protocol):
    """A reply that is being played. Its methods are called by any thread."""

    def stop(self) -> None:
        """End it with what has come."""

    def end_thinking(self) -> bool:
        """Have the answer come next; whether there is thinking left that does not come by that."""


class Scripted:
    """What plays a script: MockTransport, AsyncMockTransport and FakeServer.

    A list of replies is played once: each request gets the first one that is left and matches it. A single reply, or
    a single function that makes one of the request, answers every request.

    Attributes:
        requests: What came, in order.
        cancels: The request ids of the stops that came, in order.
        thinking_ends: The request ids with which the end of a thinking was asked for, in order.
        ready: What `client.is_ready` is told.
    """

    def __init__(self, replies: Replies = ()) -> None:
        self.requests: list[RecordedRequest] = []
        self.cancels: list[str] = []
        self.thinking_ends: list[str] = []
        self.ready = True
        self._unexpected: list[BaseException] = []
        self._early_stops: set[tuple[str, str]] = set()
        self._playing: dict[RecordedRequest, Playing] = {}
        self._tokens: dict[str, int] = {}
        self._lock = threading.RLock()
        if isinstance(replies, Sequence) and not isinstance(replies, str):
            self._entries: list[_Entry] = []
            self.add(*replies)
        else:
            self._entries = [_Entry(_reply_or_function(replies), math.inf)]

    def add(self, *replies: Answer | Function) -> None:
        """Put more replies at the end of the script, each for one request, or for `times` requests."""
        for given in replies:
            answer = _reply_or_function(given)
            times = answer.times if isinstance(answer, ScriptedReply) else 1
            with self._lock:
                self._entries.append(_Entry(answer, math.inf if times is None else times))

    def assert_all_played(self) -> None:
        """Check that every reply was played as often as it can be, and that no request came that has none.

        Raises:
            UnscriptedRequestError: a request came that has none.
            AssertionError: naming the replies that are left.
        """
        with self._lock:
            if self._unexpected:
                raise self._unexpected[0]
            if left := [entry for entry in self._entries if 0 < entry.left < math.inf]:
                raise AssertionError(f"Replies were not played:{_listed(left)}\nRequests that came: {self._came()}")

    def _take(self, request: RecordedRequest) -> ScriptedReply:
        """Record a request and find its reply.

        Raises:
            UnscriptedRequestError: there is none.
            Exception: what the script's own function raises.
        """
        try:
            with self._lock:
                self.requests.append(request)
                entry = next((one for one in self._entries if one.left and one.fits(request)), None)
                if entry is None:
                    raise UnscriptedRequestError(self._complaint(request))
                entry.left -= 1
            if isinstance(entry.answer, ScriptedReply):
                return entry.answer
            made = _reply_or_function(entry.answer(request))
            if not isinstance(made, ScriptedReply):
                raise TypeError("The script's function returned a function, expected a reply")
            return made
        except Exception as error:
            request.outcome = "failed"
            self._unexpected.append(error)
            raise

    def _begin(self, request: RecordedRequest, playing: Playing) -> None:
        """Its reply begins."""
        with self._lock:
            self._playing[request] = playing
            if not self._early_stops.isdisjoint(_names(request)):
                self._early_stops.difference_update(_names(request))
                request.outcome = "cancelled"
                playing.stop()

    def _end(self, request: RecordedRequest) -> None:
        """Nobody reads its reply any more."""
        with self._lock:
            self._playing.pop(request, None)

    def _in_flight(self) -> int:
        return len(self._playing)

    def _stop(self, request_id: str, session: str = "") -> bool:
        """A stop came, on a session for its own, or by itself. Returns whether there was something to stop."""
        with self._lock:
            self.cancels.append(request_id)
            known = [request for request in self.requests if (session, request_id) in _names(request)]
            if not known:
                self._early_stops.add((session, request_id))
            running = [request for request in known if not request.outcome]
            for request in running:
                request.outcome = "cancelled"
                if request in self._playing:
                    self._playing[request].stop()
            return bool(running)

    def _end_thinking(self, request_id: str, session: str = "") -> bool:
        """The answer to this request is wanted now. Returns whether its thinking ends by that."""
        with self._lock:
            self.thinking_ends.append(request_id)
            playing = [one for request, one in self._playing.items() if (session, request_id) in _names(request)]
            return any([one.end_thinking() for one in playing])

    def _tokenized(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What preprocessing says: a token is a word, as in `usage`, and its id is its number among those that came.

        Raises:
            LookupError: an id that no word has.
        """
        with self._lock:
            if "input_ids" in inputs:
                known = list(self._tokens)
                return {"prompt_text": "".join(known[index] for index in inputs["input_ids"])}
            found = RecordedRequest("", inputs, {}).words
            ids = [self._tokens.setdefault(word, len(self._tokens)) for word in found]
            return {"input_ids": ids, "prompt_text": "".join(found)}

    def _complaint(self, request: RecordedRequest) -> str:
        left = [entry for entry in self._entries if entry.left]
        rest = f"The script has left:{_listed(left)}" if left else "The script has nothing left."
        return f"No reply is scripted for request number {len(self.requests)}:\n  {request}\n{rest}"

    def _came(self) -> str:
        return "".join(f"\n  {request}" for request in self.requests) or "none"


def _names(request: RecordedRequest) -> set[tuple[str, str]]:
    """What a stop may say to reach it: a session's key, or none, and the id."""
    return {(request.session, request.request_id), ("", request.request_id)}


def _reply_or_function(given: Answer | Function) -> ScriptedReply | Function:
    if isinstance(given, str):
        return ScriptedReply(given)
    if isinstance(given, Fault):
        return ScriptedReply(fault=given)
    if isinstance(given, ScriptedReply) or callable(given):
        return given
    expected = "a text, a ScriptedReply, a Fault, or a function of the request"
    raise TypeError(f"replies: {type(given).__name__} was given, expected {expected}")


def _listed(entries: Sequence[_Entry]) -> str:
    return "".join(f"\n  {entry}" for entry in entries)
