"""One question and its answer: read by a thread, so that the terminal can be drawn and Ctrl-C be heard meanwhile."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nemotron_client._client import Client
from nemotron_client._errors import NemotronError
from nemotron_client._streams import ChatStream
from nemotron_client._types import ContentDelta, Event, ReasoningDelta, Reply, ToolCall, ToolCallDelta
from nemotron_client.chat.session import Answer, Session

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
        reader = threading.Thread(target=_read, args=(self._stream, self._items), name="nemotron-chat", daemon=True)
        with self._stream, self._heeding_interrupts():
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

    @contextmanager
    def _heeding_interrupts(self) -> Iterator[None]:
        def heed(_signal: int, _frame: FrameType | None) -> None:
            self.interrupt()
            self._items.put(None)  # wakes the reader of the queue

        before = signal.signal(signal.SIGINT, heed)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _read(stream: ChatStream, items: queue.SimpleQueue[_Item]) -> None:
    try:
        for event in stream:
            items.put(event)
        items.put(stream.get_final())
    except Exception as error:  # raised again where it is seen
        items.put(error)
