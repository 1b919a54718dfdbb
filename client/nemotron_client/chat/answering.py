"""One question and its answer: drawn while it comes, with keys to cancel it or have it now, or written for a script."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

from nemotron_client._client import Client
from nemotron_client._errors import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    TransportError,
)
from nemotron_client._streams import ChatStream
from nemotron_client._types import ContentDelta, Event, ReasoningDelta, Reply, ToolCall, ToolCallDelta
from nemotron_client.chat.safe_text import SafeStream, encodable, safe_json, safe_line
from nemotron_client.chat.session import Answer, Session, finish_note

FAILED = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
LATER = 5
HUNG_UP = 129
INTERRUPTED = 130
BROKEN_PIPE = 141
"""The exit statuses of nemotron-chat; `nemotron-chat --help` says what each means."""
_TICK_S = 0.1
_CANCEL_S = 1.0  # how long a cancelled answer is read on, for its counts, before it is dropped

_Item = Event | Reply | Exception | None


class Asking:
    """An answer that comes. Iterate over `events`, then read `answer`.

    Attributes:
        error: Why the answer did not come to its end, if it was not cancelled here.
        interrupted: Whether it was cancelled here.
    """

    def __init__(self, client: Client, session: Session) -> None:
        """Send the session's conversation.

        Raises:
            TypeError: an option of another type than the library takes.
            ValueError: an option out of its range, or text that is not Unicode.
        """
        self.error: NemotronError | None = None
        self.interrupted = False
        self._client = client
        self._stream = client.stream_chat(session.conversation(), **session.settings.options())
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._drop_at = float("inf")
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._reply: Reply | None = None

    @property
    def answer(self) -> Answer:
        """What came so far."""
        return Answer("".join(self._content), "".join(self._reasoning), tuple(self._calls), self._reply)

    @property
    def reasoning_tokens(self) -> int:
        """The tokens of the thinking that came so far."""
        usage = self._stream.usage_so_far
        return usage.reasoning_tokens if usage else 0

    def events(self) -> Iterator[Event | None]:
        """What comes, and None whenever some time has passed."""
        reader = threading.Thread(target=_pass_on, args=(self._stream, self._items), name="nemotron-chat", daemon=True)
        with self._stream, self._heeding_keys():
            reader.start()
            while True:
                try:
                    item = self._items.get(timeout=_TICK_S)
                except queue.Empty:
                    item = None
                if time.monotonic() >= self._drop_at:
                    self._stream.close()
                if isinstance(item, (Reply, Exception)):
                    break
                self._keep(item)
                yield item
        self._keep_end(item)

    def interrupt(self) -> None:
        """Cancel the answer on the server; the second time, do not wait for its end either."""
        if self.interrupted:
            self._stream.close()
            return
        self.interrupted = True
        self._drop_at = time.monotonic() + _CANCEL_S
        cancel = threading.Thread(target=self._client.cancel, args=(self._stream.request_id,), daemon=True)
        cancel.start()

    def answer_now(self) -> None:
        """End its thinking on the server. Without effect where it does not think, or not any more."""

        def ask() -> None:
            with contextlib.suppress(NemotronError):  # it thinks on, as everybody can see
                self._stream.end_thinking()

        threading.Thread(target=ask, daemon=True).start()

    def _keep(self, event: Event | None) -> None:
        if isinstance(event, ContentDelta):
            self._content.append(event.text)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolCallDelta):
            self._calls.append(event.call)

    def _keep_end(self, end: Reply | Exception) -> None:
        if isinstance(end, Reply):
            self._reply = end
        elif not isinstance(end, NemotronError):
            raise end
        elif not self.interrupted:
            self.error = end

    @contextlib.contextmanager
    def _heeding_keys(self) -> Iterator[None]:
        """The terminal turns its keys into signals: see `interactive`."""

        def interrupt(_signal: int, _frame: FrameType | None) -> None:
            self.interrupt()
            self._items.put(None)  # wakes the reader of the queue

        def answer_now(_signal: int, _frame: FrameType | None) -> None:
            self.answer_now()

        before = {
            number: signal.signal(number, heed)
            for number, heed in ((signal.SIGINT, interrupt), (signal.SIGQUIT, answer_now))
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _pass_on(stream: ChatStream, items: queue.SimpleQueue[_Item]) -> None:
    try:
        for event in stream:
            items.put(event)
        items.put(stream.get_final())
    except Exception as error:  # raised again where it is seen
        items.put(error)


def answer(client: Client, session: Session, *, as_json: bool) -> int:
    """Answer the session's question.

    Args:
        client: The server.
        session: The chat, which ends in the question.
        as_json: Write one JSON object, in place of the answer's text.

    Returns:
        The exit status.

    Raises:
        NemotronError: the answer did not come.
    """
    with client.stream_chat(session.conversation(), **session.settings.options()) as stream:
        if not as_json:
            thinking, content = _Part(sys.stderr, shown=sys.stderr.isatty()), _Part(sys.stdout)
            for event in stream:
                _show(event, thinking, content)
            thinking.end()
            content.end()
        reply = stream.get_final()
    if as_json:
        _write(sys.stdout, safe_json(json.dumps(_as_object(reply), ensure_ascii=not _is_utf8(sys.stdout))) + "\n")
    if reply.tool_call_error:
        _write(sys.stderr, f"nemotron-chat: a tool call could not be read: {safe_line(reply.tool_call_error.reason)}\n")
    if note := finish_note(reply.finish_reason):
        _write(sys.stderr, f"nemotron-chat: the answer was {note}\n")
    return finish_status(reply.finish_reason)


class _Part:
    """Text that is written as it comes, and ends with a newline if there was any."""

    def __init__(self, file: TextIO, *, shown: bool = True) -> None:
        self._file = file
        self._shown = shown
        self._text = SafeStream()
        self._last = ""

    def write(self, text: str) -> None:
        self._put(self._text.made_safe(text))

    def end(self) -> None:
        self._put(self._text.end())
        if self._last not in ("", "\n"):
            self._put("\n")
        self._last = ""

    def _put(self, text: str) -> None:
        if text and self._shown:
            _write(self._file, text, dim=self._file is sys.stderr)
            self._last = text[-1]


def _show(event: Event, thinking: _Part, content: _Part) -> None:
    if isinstance(event, ReasoningDelta):
        thinking.write(event.text)
        return
    thinking.end()
    if isinstance(event, ContentDelta):
        content.write(event.text)
    elif isinstance(event, ToolCallDelta):
        content.end()
        content.write(f"{safe_line(event.call.name)}({safe_line(event.call.arguments)})\n")


def _as_object(reply: Reply) -> dict[str, Any]:
    whole = dataclasses.asdict(reply)
    names = ("content", "reasoning_content", "tool_call_error", "finish_reason", "usage", "timings", "request_id")
    return {**{name: whole[name] for name in names}, "tool_calls": [one.as_message_part() for one in reply.tool_calls]}


def _write(file: TextIO, text: str, *, dim: bool = False) -> None:
    text = encodable(text, file.encoding)
    file.write(f"\x1b[2m{text}\x1b[0m" if dim else text)
    file.flush()


def _is_utf8(file: TextIO) -> bool:
    return file.encoding.lower().replace("-", "") == "utf8"


def exit_status(error: NemotronError) -> int:
    """The exit status for an answer that did not come."""
    if isinstance(error, (RequestTimeoutError, OverloadedError)):
        return LATER
    if isinstance(error, (TransportError, ModelNotReadyError)):
        return UNREACHABLE
    if isinstance(error, (InvalidRequestError, AuthenticationError)):
        return REFUSED
    return FAILED


def finish_status(finish_reason: str) -> int:
    """The exit status for an answer that came, by its finish reason."""
    return {"timeout": LATER, "cancelled": UNREACHABLE}.get(finish_reason, 0)
