"""A caller's connection: uvicorn's, with bounds to what its other side may hold up."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nemotron_front.options import FrontOptions

_MOST_HEAD_BYTES = 65_536


class Connection(HttpToolsProtocol):
    """Ends when its other side takes too long to send a request's head, or to take what was sent.

    Attributes:
        head_seconds: How long the head of a request may take, the first one from the connection's begin.
        write_seconds: How long more than the transport buffers (64 KiB) may wait to be taken.
    """

    head_seconds: float
    write_seconds: float

    _head_due: asyncio.TimerHandle | None = None
    _write_due: asyncio.TimerHandle | None = None
    _head_open = False
    _raw_bytes = 0  # since the head began, whole headers or not
    _header_bytes = 0  # of whole headers, and of trailers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It stands."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Something has come. What the parser keeps of a head, until all of a header is there, has a bound too."""
        self._raw_bytes += len(data)  # a head that begins within it begins to count behind it
        super().data_received(data)
        if self._head_open and self._raw_bytes > _MOST_HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MOST_HEAD_BYTES:
            self.transport.abort()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._head_open = False
        self._stop(self._head_due)
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """What was sent is not taken."""
        super().pause_writing()
        self._write_due = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It is taken again."""
        self._stop(self._write_due)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """No further request has come for long. What the other side has not taken by now is lost."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._stop(self._head_due)
        self._stop(self._write_due)
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._stop(self._head_due)
        self._head_open = True
        self._raw_bytes = self._header_bytes = 0
        self._head_due = self.loop.call_later(self.head_seconds, self.transport.abort)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def connection_type(options: FrontOptions) -> type[Connection]:
    """The connections of a front, with its times."""
    times = {"head_seconds": options.body_seconds, "write_seconds": options.write_seconds}
    return type("Connection", (Connection,), times)
