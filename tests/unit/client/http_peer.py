"""The other end of a connection, for what no good server does, and both transports behind one way to call them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nemotron_client import NemotronError
from nemotron_client._transports import Call, Connection
from nemotron_client._transports.http_async import AsyncHttpTransport
from nemotron_client._transports.http_sync import HttpTransport

WAIT_S = 30.0  # for what must happen; a test that waits so long has failed
QUICK_S = 5.0  # for what must happen at once, on a machine with other work
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(text: str) -> bytes:
    return chunk(f'data: {{"content": "{text}"}}\n\n'.encode())


def answer(status: str, content_type: str, body: bytes, headers: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n".encode()
    return head + headers + b"\r\n" + body


def call(request_id: str = "request-1", **options: Any) -> Call:
    return Call("ensemble", request_id, {"text_input": "Hi", "stream": True}, ("content",), **options)


@dataclass
class PeerConnection:
    """One accepted connection."""

    socket: socket.socket
    requests: list[tuple[str, dict[str, str], bytes]]

    def request(self) -> bool:
        """Read a request; whether there was a whole one."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := self._receive()):
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            if not (more := self._receive()):
                return False
            body += more
        self.requests.append((first, headers, body))
        return True

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionError:  # the client left something unread
            return b""

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def reset(self) -> None:
        """End with RST rather than FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait_for_end(self) -> bool:
        """Whether the client has closed its side."""
        while self._receive():
            pass
        return True


@dataclass
class Peer:
    """A listening socket, and a thread for each connection."""

    url: str
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    failures: list[BaseException] = field(default_factory=list)


Handler = Callable[[PeerConnection], object]


@contextlib.contextmanager
def peer(handle: Handler, tls: ssl.SSLContext | None = None, scheme: str | None = None) -> Iterator[Peer]:
    """Serve connections until the block ends; what a handler raises fails the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    found = Peer(f"{scheme or ('https' if tls else 'http')}://127.0.0.1:{port}")
    threads: list[threading.Thread] = []

    def serve(accepted: socket.socket) -> None:
        accepted.settimeout(WAIT_S)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) if tls else accepted
        with secured:
            try:
                if isinstance(secured, ssl.SSLSocket):
                    secured.do_handshake()
            except OSError:
                # The client takes the reason in before the end, if what it sends is read.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(secured, socket.SHUT_WR)
                    while socket.socket.recv(secured, 65536):
                        pass
                return
            try:
                handle(PeerConnection(secured, found.requests))
            except BaseException as error:
                found.failures.append(error)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted = listener.accept()[0]
                found.connections += 1
                threads.append(threading.Thread(target=serve, args=(accepted,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield found
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(WAIT_S)
        listener.close()
        for thread in threads:
            thread.join(WAIT_S)
    assert not found.failures, found.failures


@contextlib.contextmanager
def deaf_address() -> Iterator[str]:
    """A URL to which no connection is ever made: whoever listens there is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def refusing_address() -> Iterator[str]:
    """A URL where nobody listens, and nobody else will."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@dataclass
class Outcome:
    """What came of calls."""

    texts: list[str]
    error: NemotronError | None


class Sync:
    """Calls over `HttpTransport`."""

    def read(self, url: str, *calls: Call, connection: Connection | None = None) -> Outcome:
        """The texts of these calls, one after the other on one transport, and what ended them."""
        transport = HttpTransport(url, connection or Connection())
        texts: list[str] = []
        try:
            for one in calls or (call(),):
                texts.extend(values["content"] for values in transport.open(one))
        except NemotronError as error:
            return Outcome(texts, error)
        finally:
            transport.close()
        return Outcome(texts, None)

    def ask(self, url: str, method: str, *arguments: Any, connection: Connection | None = None) -> Any:
        """`is_live`, `is_ready` or `metadata`."""
        transport = HttpTransport(url, connection or Connection())
        try:
            return getattr(transport, method)(*arguments)
        finally:
            transport.close()

    def post(self, url: str, one: Call, timeout_s: float) -> int:
        """Post a call and wait; how often it was said to be done."""
        transport, done = HttpTransport(url, Connection()), threading.Semaphore(0)
        try:
            transport.post(one, timeout_s, done.release)
            assert done.acquire(timeout=WAIT_S)
            return 1 + done.acquire(blocking=False)
        finally:
            transport.close()


class Async:
    """The same over `AsyncHttpTransport`."""

    def read(self, url: str, *calls: Call, connection: Connection | None = None) -> Outcome:
        texts: list[str] = []

        async def run() -> Outcome:
            transport = AsyncHttpTransport(url, connection or Connection())
            try:
                for one in calls or (call(),):
                    async for values in transport.open(one):
                        texts.append(values["content"])
            except NemotronError as error:
                return Outcome(texts, error)
            finally:
                await transport.close()
                assert len(asyncio.all_tasks()) == 1
            return Outcome(texts, None)

        return asyncio.run(run())

    def ask(self, url: str, method: str, *arguments: Any, connection: Connection | None = None) -> Any:
        async def run() -> Any:
            transport = AsyncHttpTransport(url, connection or Connection())
            try:
                return await getattr(transport, method)(*arguments)
            finally:
                await transport.close()

        return asyncio.run(run())

    def post(self, url: str, one: Call, timeout_s: float) -> int:
        async def run() -> int:
            transport = AsyncHttpTransport(url, Connection())
            await transport.post(one, timeout_s)
            await transport.close()
            return 1

        return asyncio.run(run())


Caller = Sync | Async
