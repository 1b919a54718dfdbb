"""The script behind a mock transport or a fake server: which reply a request gets, and a record of what came."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nemotron_client._contract import INPUTS
from nemotron_client._transports.base import Call
from nemotron_client.testing._replies import Fault, ScriptedReply

# Not what a caller would call an option.
_CONVERSATION = ("messages", "text_input", "raw_prompt", "stream")
_SHOWN_CHARACTERS = 200  # of a text, in a message


def _tool_choice(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


_JSON_OPTIONS: dict[str, Callable[[str], Any]] = {
    "logit_bias": lambda text: {int(token): bias for token, bias in json.loads(text).items()},
    "response_format": json.loads,
    "tool_choice": _tool_choice,
    "tools": json.loads,
}


@dataclass(eq=False)
class RecordedRequest:
    """A request that came.

    Attributes:
        request_id: Its name, as in `reply.request_id`.
        inputs: The values by the names of docs/requests.md, as they were sent.
        headers: HTTP headers or gRPC metadata; names in lower case.
        outcome: `answered`, `failed`, or `cancelled` by a stop of the client, which it sends when a stream is left
            early. Empty while it runs, and if it was abandoned.
    """

    request_id: str
    inputs: Mapping[str, Any]
    headers: Mapping[str, str]
    outcome: Literal["", "answered", "failed", "cancelled"] = ""

    @classmethod
    def of(cls, call: Call) -> RecordedRequest:
        """What a client hands to its transport."""
        inputs = {name: _as_list(name, value) for name, value in call.inputs.items()}
        return cls(call.request_id, inputs, call.headers)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, in OpenAI's shape; empty for a complete prompt (`generate`)."""
        if "messages" in self.inputs:
            messages: list[dict[str, Any]] = json.loads(self.inputs["messages"])
            return messages
        if self.inputs.get("raw_prompt"):
            return []
        return [{"role": "user", "content": self.inputs["text_input"]}]

    @property
    def prompt(self) -> str | None:
        """The complete prompt of `generate`; None for a conversation."""
        return self.inputs["text_input"] if self.inputs.get("raw_prompt") else None

    @property
    def text(self) -> str:
        """The text of the last message, or the prompt: what `match` searches."""
        if self.prompt is not None:
            return self.prompt
        return _text_of(self.messages[-1]) if self.messages else ""

    @property
    def options(self) -> dict[str, Any]:
        """What was said besides the conversation, by the names of `Options`; tools and formats in OpenAI's shape."""
        return {
            name: _JSON_OPTIONS[name](value) if name in _JSON_OPTIONS else value
            for name, value in self.inputs.items()
            if name not in _CONVERSATION
        }

    @property
    def num_words(self) -> int:
        """The words of all messages, or of the prompt."""
        texts = [self.prompt] if self.prompt is not None else map(_text_of, self.messages)
        return sum(len(text.split()) for text in texts)

    def __str__(self) -> str:
        """For messages: what was asked, shortened."""
        if self.prompt is not None:
            what = f"generate({_shortened(self.prompt)})"
        elif self.messages:
            role = self.messages[-1].get("role")
            what = f"chat with {len(self.messages)} messages, the last one from the {role}: {_shortened(self.text)}"
        else:
            what = "chat with no messages"
        options = ", ".join(f"{name}={_shortened(value)}" for name, value in self.options.items())
        return f"{what}; options: {options}" if options else what


def _as_list(name: str, value: Any) -> Any:
    """The value as it would come over the wire, where only the contract knows a single string from a list of one."""
    is_list = name in INPUTS and INPUTS[name].is_list
    return [value] if is_list and isinstance(value, str) else value


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


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


class Scripted:
    """What plays a script: MockTransport, AsyncMockTransport and FakeServer.

    A list of replies is played once: each request gets the first one that is left and matches it. A single reply, or
    a single function that makes one of the request, answers every request.

    Attributes:
        requests: What came, in order.
        cancels: The request ids of the stops that came, in order.
        ready: What `client.is_ready` is told.
    """

    def __init__(self, replies: Replies = ()) -> None:
        self.requests: list[RecordedRequest] = []
        self.cancels: list[str] = []
        self.ready = True
        self._unexpected: list[BaseException] = []
        self._early_stops: set[str] = set()
        self._playing: dict[RecordedRequest, Callable[[], None]] = {}
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

    def _begin(self, request: RecordedRequest, cancel: Callable[[], None]) -> None:
        """Its reply begins; `cancel` is called, from any thread, when a stop comes."""
        with self._lock:
            self._playing[request] = cancel
            if request.request_id in self._early_stops:
                self._early_stops.discard(request.request_id)
                request.outcome = "cancelled"
                cancel()

    def _end(self, request: RecordedRequest) -> None:
        """Nobody reads its reply any more."""
        with self._lock:
            self._playing.pop(request, None)

    def _in_flight(self) -> int:
        return len(self._playing)

    def _stop(self, request_id: str) -> bool:
        """A stop came. Returns whether there was something to stop."""
        with self._lock:
            self.cancels.append(request_id)
            known = [request for request in self.requests if request_id and request.request_id == request_id]
            if not known:
                self._early_stops.add(request_id)
            running = [request for request in known if not request.outcome]
            for request in running:
                request.outcome = "cancelled"
                if request in self._playing:
                    self._playing[request]()
            return bool(running)

    def _complaint(self, request: RecordedRequest) -> str:
        left = [entry for entry in self._entries if entry.left]
        rest = f"The script has left:{_listed(left)}" if left else "The script has nothing left."
        return f"No reply is scripted for request number {len(self.requests)}:\n  {request}\n{rest}"

    def _came(self) -> str:
        return "".join(f"\n  {request}" for request in self.requests) or "none"


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
