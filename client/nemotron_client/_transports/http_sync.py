"""HTTP for threads."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from nemotron_client._contract import ENSEMBLE
from nemotron_client._errors import NemotronError
from nemotron_client._transports import http_codec as codec
from nemotron_client._transports.base import Call, Connection


class HttpTransport:
    """Connections to one server, each kept for the next call. See `Transport`.

    A proxy that the environment names is not used: those for browsers gather a stream before they pass it on.
    """

    def __init__(self, url: str, connection: Connection) -> None:
        """See `base`.

        Raises:
            ValueError: a file of `tls` that cannot be used.
        """
        self.url = url
        self._base = codec.base_url(url)
        self._connection = connection
        self._ssl_context = codec.ssl_context(url, connection.tls)
        self._socket_options = codec.socket_options(connection)
        self._idle: list[HttpLink] = []
        self._busy: set[HttpLink] = set()
        # Finalizers of forgotten streams may run in the middle of what it guards, in the same thread.
        self._lock = threading.RLock()
        self._closed = False

    def open(self, call: Call) -> HttpResponseStream:
        """See `Transport.open`."""
        return HttpResponseStream(self, self._generate(call), call)

    def post(self, call: Call, timeout_s: float, done: Callable[[], None]) -> None:
        """See `Transport.post`."""

        def send() -> None:
            try:
                with contextlib.suppress(NemotronError, ValueError):
                    self._ask(self._generate(call, timeout_s))
            finally:
                done()

        try:
            threading.Thread(target=send, name="nemotron-client-post", daemon=True).start()
        except RuntimeError:  # there are no more threads, or no new ones because the interpreter ends
            send()

    def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        """See `Transport.ask`."""
        return codec.last_values(call, *self._ask(self._generate(call, timeout_s)), url=self.url)

    def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `Transport.is_live`."""
        return codec.says_yes(*self._get("/v2/health/live", headers, timeout_s), url=self.url)

    def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `Transport.is_ready`."""
        return codec.says_yes(*self._get(codec.ready_path(model), headers, timeout_s), url=self.url)

    def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `Transport.metadata`."""
        found = codec.metadata_of(*self._get("/v2", headers, timeout_s), url=self.url)
        with contextlib.suppress(NemotronError):
            status, _, body = self._get(codec.config_path(ENSEMBLE), headers, timeout_s)
            found["parameters"] = codec.parameters_of(status, body)
        return found

    def close(self) -> None:
        """See `Transport.close`."""
        with self._lock:
            self._closed = True
            for link in list(self._busy):
                link.cut()
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def take(self) -> HttpLink:
        """A connection that nobody else uses: an idle one, or one that is made when it is used."""
        with self._lock:
            link = self._idle.pop() if self._idle else HttpLink(self._one_connection())
            self._busy.add(link)
            if self._closed:
                link.cut()
            return link

    def give_back(self, link: HttpLink, *, clean: bool) -> None:
        """Keep a connection for the next call, if the last one was read to its end."""
        with self._lock:
            self._busy.discard(link)
            keep = clean and not self._closed and not link.is_cut and len(self._idle) < codec.MAX_IDLE
            if keep:
                self._idle.append(link)
        if not keep:
            link.close()

    def _one_connection(self) -> httpx2.BaseTransport:
        limits = httpx2.Limits(max_connections=1, keepalive_expiry=codec.IDLE_S)
        return httpx2.HTTPTransport(
            verify=self._ssl_context, trust_env=False, limits=limits, socket_options=self._socket_options
        )

    def _generate(self, call: Call, timeout_s: float | None = None) -> httpx2.Request:
        url, headers = self._base + codec.generate_path(call), codec.generate_headers(call)
        body = codec.generate_body(call)
        return codec.request("POST", url, headers, self._connection, body=body, timeout_s=timeout_s)

    def _get(self, path: str, headers: Mapping[str, str], timeout_s: float) -> tuple[int, str, bytes]:
        return self._ask(codec.request("GET", self._base + path, headers, self._connection, timeout_s=timeout_s))

    def _ask(self, request: httpx2.Request) -> tuple[int, str, bytes]:
        """The status, the content type and the body of the response."""
        link, clean = self.take(), False
        try:
            response = link.send(request)
            try:
                response.read()
            finally:
                response.close()
            clean = True
            return response.status_code, response.headers.get("content-type", ""), response.content
        except codec.FAILURES as error:
            raise codec.connection_error(error, request_id="", url=self.url) from error
        finally:
            self.give_back(link, clean=clean)


class HttpLink:
    """One connection, which another thread can cut.

    httpx2 shows a connection's socket only with the head of a response, and Triton sends that with the first token.
    So every connection has a transport of its own, and tells by httpx2's extension `trace` when it has a new socket.
    """

    _NEW_SOCKET = ("connection.connect_tcp.complete", "connection.start_tls.complete")

    def __init__(self, transport: httpx2.BaseTransport) -> None:
        self.is_cut = False
        self._transport = transport
        self._network_stream: Any = None

    def send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and wait for the head of its response.

        Raises:
            httpx2.TransportError: the connection is broken or cut, or cannot be made.
        """
        if self.is_cut:
            raise httpx2.ConnectError("given up")
        request.extensions["trace"] = self._trace
        return self._transport.handle_request(request)

    def cut(self) -> None:
        """Have whoever waits for this connection fail at once. Does not block."""
        self.is_cut = True
        self._shut_down()

    def close(self) -> None:
        """Close the connection, which nobody waits for."""
        self._transport.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event in self._NEW_SOCKET:
            self._network_stream = info["return_value"]
            if self.is_cut:
                self._shut_down()

    def _shut_down(self) -> None:
        if self._network_stream is not None:
            with contextlib.suppress(OSError):
                # Not the method of SSLSocket, which takes away what the thread that waits needs.
                socket.socket.shutdown(self._network_stream.get_extra_info("socket"), socket.SHUT_RDWR)


class HttpResponseStream:
    """The responses to one call. See `ResponseStream`.

    A thread sends the request and ends when the first token comes, so the server works from the beginning on, whether
    or not somebody reads already.
    """

    def __init__(self, transport: HttpTransport, request: httpx2.Request, call: Call) -> None:
        self._transport = transport
        self._request_id = call.request_id
        self._reader = codec.ResponseReader(call, transport.url)
        self._response: httpx2.Response | None = None
        self._failure: Exception | None = None
        self._chunks: Iterator[bytes] | None = None
        self._values: Iterator[dict[str, Any]] = iter(())
        self._over = False
        self._head = threading.Event()  # there is something for the reader
        self._lock = threading.RLock()  # guards what follows; see HttpTransport for its kind
        self._sent = False
        self._reading = False
        self._aborted = False
        self._link: HttpLink | None = None
        self._link = link = transport.take()
        threading.Thread(target=self._send, args=(link, request), name="nemotron-client-send", daemon=True).start()

    def __iter__(self) -> HttpResponseStream:
        return self

    def __next__(self) -> dict[str, Any]:
        with self._lock:
            self._reading = True
            aborted = self._aborted
        try:
            if aborted and not self._over:
                raise codec.given_up(self._request_id, self._transport.url)
            return self._next_values()
        finally:
            with self._lock:
                self._reading = False
                aborted = self._aborted
            if aborted:
                self._let_go()

    def abort(self) -> None:
        """See `ResponseStream.abort`."""
        with self._lock:
            self._aborted = True
            if self._link is not None:
                self._link.cut()
            reading = self._reading
        self._head.set()
        if not reading:  # whoever reads does it when it is woken
            self._let_go()

    def __del__(self) -> None:
        self._let_go()

    def _send(self, link: HttpLink, request: httpx2.Request) -> None:
        try:
            self._response = link.send(request)
        except Exception as error:
            self._failure = error
        with self._lock:
            self._sent = True
            aborted = self._aborted
        if aborted:
            self._let_go()
        self._head.set()

    def _next_values(self) -> dict[str, Any]:
        try:
            while not self._over:
                if (values := next(self._values, None)) is not None:
                    return values
                self._values = self._next_chunk()
        except codec.FAILURES as error:
            self._end(clean=False)
            raise codec.connection_error(error, request_id=self._request_id, url=self._transport.url) from error
        except NemotronError:
            self._end(clean=False)
            raise
        raise StopIteration

    def _next_chunk(self) -> Iterator[dict[str, Any]]:
        if self._chunks is None:
            self._chunks = self._body()
        if (chunk := next(self._chunks, None)) is not None:
            return self._reader.responses_in(chunk)
        self._end(clean=True)
        self._reader.end()
        return iter(())

    def _end(self, *, clean: bool) -> None:
        self._over = True
        self._let_go(clean=clean)

    def _body(self) -> Iterator[bytes]:
        self._head.wait()
        if self._aborted:
            raise codec.given_up(self._request_id, self._transport.url)
        if self._response is None:
            raise self._failure or codec.given_up(self._request_id, self._transport.url)
        content_type = self._response.headers.get("content-type", "")
        if not codec.is_event_stream(content_type):
            body = self._response.read()
            raise codec.refusal(
                self._response.status_code, content_type, body, request_id=self._request_id, url=self._transport.url
            )
        return self._response.iter_bytes()

    def _let_go(self, *, clean: bool = False) -> None:
        """Let go of the connection, unless the request is still being sent: then the thread that does it will."""
        with self._lock:
            if not self._sent or self._link is None:
                return
            link, self._link = self._link, None
        if self._response is not None:
            self._response.close()
        self._transport.give_back(link, clean=clean)
