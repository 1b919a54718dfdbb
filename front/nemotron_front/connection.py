"""A caller's connection: uvicorn's, with bounds to what its other side may hold up."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from nemotron_front.errors import no_http
from nemotron_front.options import FrontOptions

_MOST_HEAD_BYTES = 65_536
_MOST_PIPELINED = 8


class Connection(HttpToolsProtocol):
    """Ends when its other side takes too long to send a request's head, or to take what was sent.

    Attributes:
        head_seconds: How long the head of a request may take, the first one from the connection's begin; and what comes
            of its body once it is answered.
        write_seconds: How long more than the transport buffers (64 KiB) may wait to be taken.
    """

    head_seconds: float
    write_seconds: float

    _due: asyncio.TimerHandle | None = None
    _write_due: asyncio.TimerHandle | None = None
    _head_open = False
    _raw_bytes = 0  # since the head began, whole headers or not
    _header_bytes = 0  # of whole headers, and of trailers
    _unanswered: tuple[RequestResponseCycle, ...] = ()  # the first one is being answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It stands."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Something has come. What the parser keeps of a head, until all of a header is there, has a bound too."""
        self._raw_bytes += len(data)  # a head that begins within it begins to count behind it
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parsed(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._head_open and self._raw_bytes > _MOST_HEAD_BYTES:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are no JSON
        """What came is no request. An answer that is being sent ends where it is: nothing else may stand in it."""
        self.logger.warning("something else than an HTTP request has come")
        if not any(one.response_started and not one.response_complete for one in self._unanswered):
            error = no_http()
            body = error.json()
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            more = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items())
            self.transport.write(f"{head}{more}\r\n".encode() + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or a trailer, which is none: who passed the request on has not looked at it."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MOST_HEAD_BYTES:
            self.transport.abort()
        if self._head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._head_open = False
        self._stop(self._due)
        if self.parser.should_upgrade():
            return  # it comes again
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            _without_chunks(self.cycle)
        self._unanswered = tuple(one for one in (*self._unanswered, self.cycle) if not one.response_complete)
        if len(self._unanswered) <= _MOST_PIPELINED:
            # uvicorn reads on when the first one is answered, and would not see before that its caller has left.
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """The body of a request is there."""
        self._stop(self._due)
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered. Nobody reads what is still coming of its body, so that has its time here."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._wait()

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
        self._stop(self._due)
        self._stop(self._write_due)
        for one in self._unanswered:  # uvicorn tells the last one alone
            if not one.response_complete:
                one.disconnected = True
                one.message_event.set()
        super().connection_lost(exc)

    def _parsed(self, data: bytes) -> bytes:
        """Have the parser take what has come; returns what it is to take after that.

        A request may offer another protocol, as Java's HttpClient does with each (HTTP/2). It is answered in this one,
        but the parser then leaves its body to the other: so it is parsed again, without the offer.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                raise httptools.HttpParserError from offer
            headers = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            return b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self.url, version, headers, data[offer.args[0] :])
        return b""

    def _wait_for_head(self) -> None:
        self._head_open = True
        self._raw_bytes = self._header_bytes = 0
        self._wait()

    def _wait(self) -> None:
        self._stop(self._due)
        self._due = self.loop.call_later(self.head_seconds, self.transport.abort)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def _without_chunks(cycle: RequestResponseCycle) -> None:
    """Have an answer of unknown length end with the connection: HTTP/1.0 has no chunks, which uvicorn would send."""
    send = cycle.send

    async def sends(message: Any) -> None:
        # uvicorn holds what is sent against a length: this one is neither too long nor too short.
        cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.chunked_encoding = False
    cycle.send = sends  # type: ignore[method-assign]


def connection_type(options: FrontOptions) -> type[Connection]:
    """The connections of a front, with its times."""
    times = {"head_seconds": options.body_seconds, "write_seconds": options.write_seconds}
    return type("Connection", (Connection,), times)
