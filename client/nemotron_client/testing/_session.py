"""A session of the fake server: what its requests bring, in frames, as docs/sessions.md tells it."""

from __future__ import annotations

import collections
import json
import secrets
import threading
from collections.abc import Iterator

from nemotron_client._contract import GENERATING_MODEL, TOTALS
from nemotron_client.testing._player import Faulted, Running, Values
from nemotron_client.testing._replies import Fault

# As the real server has them: how much is sent that was not acknowledged, and for how long.
_MOST_FRAMES = 64
_MOST_BYTES = 4 << 20
_STALL_S = 30.0


class Session:
    """One client's. Thread-safe.

    Attributes:
        key: Names it, and nobody else knows it.
    """

    def __init__(self) -> None:
        self.key = secrets.token_hex(16)
        self._running: dict[str, Running] = {}
        self._entries: list[Values] = []
        self._fault: Fault | None = None
        self._number = -1  # of the last frame
        self._unread: collections.deque[int] = collections.deque()  # sizes of the last frames, not acknowledged
        self._draining = self._told_of_drain = self._left = False
        self._changed = threading.Condition()

    def frames(self) -> Iterator[Values]:
        """The subscription's responses, until the session ends, and with it all its requests.

        Raises:
            Faulted: with what ends it before its time.
        """
        try:
            yield self._frame({"session": self.key})
            while (news := self._news()) is not None:
                yield self._frame(news)
        finally:
            self.leave()

    def check(self, request_id: str) -> None:
        """Whether a request may begin.

        Raises:
            Faulted: there is no id, or another request has it.
        """
        if not request_id:
            raise Faulted(Fault.invalid("id: missing, expected one for each request of a session"))
        if request_id in self._running:
            raise Faulted(Fault.invalid(f"id: {request_id!r} is that of another request of this session"))

    def begin(self, request_id: str, running: Running) -> None:
        """Answer a request in the frames."""
        with self._changed:
            self._running[request_id] = running
            if self._left:
                running.leave()
        threading.Thread(
            target=self._play, args=(request_id, running), name="nemotron-fake-session", daemon=True
        ).start()

    def acknowledge(self, number: int) -> None:
        """The client has read the frames up to this one."""
        with self._changed:
            while self._unread and self._number - len(self._unread) < number:
                self._unread.popleft()
            self._changed.notify_all()

    def drain(self) -> None:
        """The server takes no new requests; what runs goes on to its end, and then the session ends."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def fail(self, fault: Fault) -> None:
        """End the session like this, after what came before."""
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()

    def leave(self) -> None:
        """The caller has gone."""
        with self._changed:
            self._left = True
            for running in self._running.values():
                running.leave()
            self._changed.notify_all()

    @property
    def _full(self) -> bool:
        return len(self._unread) >= _MOST_FRAMES or sum(self._unread) >= _MOST_BYTES

    def _news(self) -> Values | None:
        """What the next frame says; None after the last."""
        with self._changed:
            while not self._left:
                if self._entries and not self._full:
                    entries, self._entries = self._entries, []
                    return {"responses": entries}
                if self._fault is not None:
                    raise Faulted(self._fault)
                if self._draining and not self._told_of_drain:
                    self._told_of_drain = True
                    return {"draining": True}
                if self._draining and not self._running and not self._entries:
                    return None
                if not self._changed.wait(_STALL_S) and self._full:
                    message = "This session was ended, for its frames were not acknowledged; open a new one, and read "
                    raise Faulted(Fault("error", f"{message}faster.", "UNAVAILABLE"))
        return None

    def _frame(self, what: Values) -> Values:
        with self._changed:
            self._number += 1
            frame = json.dumps({"frame": self._number} | what, ensure_ascii=False, separators=(",", ":"))
            self._unread.append(len(frame.encode()))
        return {"frame": frame}

    def _play(self, request_id: str, running: Running) -> None:
        try:
            for values in running.responses:
                self._add(request_id, {name: value for name, value in values.items() if value or name in TOTALS})
        except Faulted as end:
            if end.fault.kind == "error":
                self._add(request_id, {"error": end.fault.message_about(request_id, GENERATING_MODEL)})
            else:  # that of a connection is that of all its requests
                self.fail(end.fault)
        with self._changed:
            del self._running[request_id]
            self._changed.notify_all()

    def _add(self, request_id: str, entry: Values) -> None:
        with self._changed:
            self._entries.append({"id": request_id} | entry)
            self._changed.notify_all()
