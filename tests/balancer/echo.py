"""A replica that runs nothing: it says of each request what has arrived, over HTTP and gRPC, and keeps a list."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

# What a request's headers may ask of it.
STATUS = "x-echo-status"  # the status of the answer
SILENCE = "x-echo-silence"  # seconds before the answer, or, with PART, in the middle of it
PART = "x-echo-part"  # the answer's first part: sent at once
HOLD = "x-echo-hold"  # the answer comes when the replica lets go
BREAK = "x-echo-break"  # the connection ends behind the first part, and at once without one


@dataclass
class Seen:
    """A request that has arrived.

    Attributes:
        replica: Where.
        path: Of HTTP, or the call's.
        headers: Or metadata, by their names in lower case.
        length: Of the body.
    """

    replica: str
    path: str
    headers: dict[str, str]
    length: int = 0


@dataclass
class Echo:
    """It, running.

    Attributes:
        name: What it calls itself.
        urls: As a ready file has them.
        ready: What `/ready` says.
        statuses: What the next requests over HTTP are answered with, and then 200.
        seen: All that has arrived but health checks.
        held: Requests that are being answered.
        free: Lets go of all that asked to be held.
    """

    name: str
    urls: dict[str, str] = field(default_factory=dict)
    ready: bool = True
    statuses: list[int] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    held: int = 0
    free: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def holding(self, request: Seen) -> Iterator[None]:
        """A request is here until the block ends."""
        with self._lock:
            self.seen.append(request)
            self.held += 1
        try:
            yield
        finally:
            with self._lock:
                self.held -= 1


@contextlib.contextmanager
def echoing(name: str, address: str = "127.0.0.1", http_port: int = 0, grpc_port: int = 0) -> Iterator[Echo]:
    """Start one until the block ends, on free ports where none are named."""
    echo = Echo(name)
    handler = type("Handler", (_Handler,), {"echo": echo})
    server = _Server((address, http_port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    calls = grpc.server(ThreadPoolExecutor(64), handlers=[_Calls(echo)], maximum_concurrent_rpcs=64)
    port = calls.add_insecure_port(f"{address}:{grpc_port}")
    calls.start()
    http = f"http://{address}:{server.server_address[1]}"
    echo.urls = {name: http for name in ("http_url", "openai_url", "health_url")}
    echo.urls["grpc_url"] = f"grpc://{address}:{port}"
    try:
        yield echo
    finally:
        echo.free.set()
        calls.stop(None).wait()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of callers that left."""


class _Handler(BaseHTTPRequestHandler):
    echo: Echo
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ready":
            self._head(200 if self.echo.ready else 503, {"content-length": "0"})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        seen = Seen(self.echo.name, self.path, headers, len(body))
        with self.echo.holding(seen):
            self._answer(seen)

    do_POST = do_GET
    do_OPTIONS = do_GET
    do_PUT = do_GET
    do_DELETE = do_GET
    do_HEAD = do_GET

    def _answer(self, seen: Seen) -> None:
        status = self.echo.statuses.pop(0) if self.echo.statuses else int(seen.headers.get(STATUS, 200))
        silence, part = float(seen.headers.get(SILENCE, 0)), seen.headers.get(PART, "").encode()
        text = json.dumps({"replica": seen.replica, "path": seen.path, "length": seen.length}).encode()
        if not part:
            time.sleep(silence)
        if HOLD in seen.headers:
            self.echo.free.wait()
        if BREAK in seen.headers and not part:
            self.close_connection = True
            return
        more = {"retry-after": "7"} if status in {429, 503} else {}
        self._head(status, {"content-length": str(len(part + text)), "content-type": "application/json", **more})
        if part:
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(silence)
        if BREAK in seen.headers:
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(text)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc is not typed
    """Answers each message of any call with its own length, at once."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def service(self, details: Any) -> Any:
        headers = {name: value for name, value in details.invocation_metadata if isinstance(value, str)}
        seen = Seen(self._echo.name, details.method, headers)

        def answer(messages: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
            with self._echo.holding(seen):
                for number, message in enumerate(messages):
                    if number:
                        time.sleep(float(headers.get(SILENCE, 0)))
                    seen.length += len(message)
                    yield json.dumps({"replica": seen.replica, "length": len(message)}).encode()

        return grpc.stream_stream_rpc_method_handler(answer)
