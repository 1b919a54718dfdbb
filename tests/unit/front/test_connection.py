"""A caller's connection: what of a request's head is kept, and what becomes of requests that are written oddly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from nemotron_front.connection import Connection, connection_type
from nemotron_front.options import FrontOptions

App = Callable[[Scope, Receive, Send], Any]

CHUNK = b"x" * 50_000
BEGIN = b"POST / HTTP/1.1\r\nhost: h\r\n"


class Transport(asyncio.Transport):
    """Nothing behind it."""

    aborted = False
    reads = True

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def takes_all(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def connected(app: App, options: FrontOptions | None = None) -> tuple[Connection, Transport]:
    config = Config(app, lifespan="off", log_config=None)
    config.load()
    connection, transport = connection_type(options or FrontOptions())(config, ServerState(), {}), Transport()
    connection.connection_made(transport)
    return connection, transport


def chunks_taken(chunks: Iterable[bytes]) -> int:
    """How many of them come before the connection ends."""

    async def run() -> int:
        connection, transport = connected(takes_all)
        taken = 0
        for chunk in chunks:
            connection.data_received(chunk)
            await asyncio.sleep(0)
            if transport.aborted:
                break
            taken += 1
        connection.connection_lost(None if transport.aborted else OSError())
        return taken

    return asyncio.run(run())


@pytest.mark.parametrize(
    "begin",
    [b"GET /", b"GET / HTTP/1.1\r\nname: ", b"GET / HTTP/1.1\r\n", b"", b"GET / HTTP/1.1\r\n\r\nGET /"],
    ids=["url", "value", "name", "method", "second"],
)
def test_a_head_that_does_not_end_is_not_kept(begin: bytes) -> None:
    assert chunks_taken([begin, *[CHUNK] * 20]) <= 4


def test_many_headers_are_too_many() -> None:
    assert chunks_taken([BEGIN, *[b"name: " + b"x" * 1000 + b"\r\n"] * 1000]) < 100
    assert chunks_taken([BEGIN + (b"name: " + b"x" * 1000 + b"\r\n") * 1000]) == 0


def test_trailers_are_too_many() -> None:
    body = BEGIN + b"transfer-encoding: chunked\r\n\r\n0\r\n"
    assert chunks_taken([body, *[b"name: " + b"x" * 1000 + b"\r\n"] * 1000]) < 100


def test_a_body_is_no_head() -> None:
    body = BEGIN + b"content-length: 500000\r\n\r\n"
    assert chunks_taken([body + CHUNK, *[CHUNK] * 9]) == 10
    assert chunks_taken([BEGIN[:5], BEGIN[5:] + b"content-length: 500000\r\n\r\n" + CHUNK * 10, BEGIN]) == 3


async def says_back(scope: Scope, receive: Receive, send: Send) -> None:
    """The request's body, and its headers in a header."""
    body = b""
    more = True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"names", b" ".join(sorted(name for name, _ in scope["headers"]))),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answered(*chunks: bytes, app: App = says_back) -> bytes:
    """What comes back."""

    async def run() -> bytes:
        connection, transport = connected(app)
        for chunk in chunks:
            connection.data_received(chunk)
            for _ in range(9):
                await asyncio.sleep(0)
        if not transport.aborted:
            connection.connection_lost(OSError())
        return transport.written

    return asyncio.run(run())


OFFER = BEGIN + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"


@pytest.mark.parametrize(
    "body", [b"content-length: 4\r\n\r\nbody", b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("size", [1, 50, 1000])
def test_who_offers_another_protocol_is_answered_in_this_one(body: bytes, size: int) -> None:
    sent = (OFFER + body) * 2
    back = answered(*(sent[at : at + size] for at in range(0, len(sent), size)))
    assert back.count(b"HTTP/1.1 200") == 2
    assert back.count(b"\r\n\r\nbody") == 2


def test_an_offer_may_end_the_connection() -> None:
    sent = OFFER.replace(b"Upgrade,", b"Upgrade, close,") + b"content-length: 4\r\n\r\nbody"
    assert b"connection: close" in answered(sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x00\xa5",
        b"FOO / HTTP/1.1\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET \xff HTTP/1.1\r\n",
    ],
    ids=["TLS", "method", "CONNECT", "path"],
)
def test_what_is_no_request_gets_an_error_as_all_others(sent: bytes) -> None:
    head, _, body = answered(sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "invalid_http"


def test_what_is_no_request_gets_an_error_behind_an_answer() -> None:
    back = answered(BEGIN + b"content-length: 4\r\n\r\nbody", b"no request at all\r\n")
    assert back.index(b"\r\n\r\nbody") < back.index(b"invalid_http")


def test_no_error_stands_within_an_answer() -> None:
    async def goes_on(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    back = answered(BEGIN + b"\r\n", b"no request at all\r\n", app=goes_on)
    assert back.endswith(b"so far\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"7")]], ids=["unknown", "length"])
def test_an_answer_for_http_1_0_has_no_chunks(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    async def in_parts(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part, more in ((b"one ", True), (b"two", True), (b"", False)):
            await send({"type": "http.response.body", "body": part, "more_body": more})

    head, _, body = answered(f"{method} / HTTP/1.0\r\n\r\n".encode(), app=in_parts).partition(b"\r\n\r\n")
    assert body == (b"one two" if method == "GET" else b"")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head


def test_trailers_are_no_headers() -> None:
    back = answered(BEGIN + b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nauthorization: Bearer key\r\n\r\n")
    assert b"names: host transfer-encoding\r\n" in back
    assert back.endswith(b"body")


def test_who_leaves_with_several_requests_is_noticed_by_the_first() -> None:
    left = []

    async def waits(_: Scope, receive: Receive, __: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.append(True)

    async def run() -> bool:
        connection, transport = connected(waits)
        for _ in range(3):
            connection.data_received(BEGIN + b"\r\n")
            await asyncio.sleep(0)
        reads = transport.reads
        connection.connection_lost(OSError())
        for _ in range(9):
            await asyncio.sleep(0)
        return reads

    assert asyncio.run(run()), "a connection that is not read does not tell its end"
    assert left == [True]


@pytest.mark.parametrize("ends", [False, True])
def test_the_body_of_a_request_that_is_answered_has_its_time(ends: bool) -> None:
    async def refuses(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def run() -> bool:
        connection, transport = connected(refuses, FrontOptions(body_seconds=0.5))
        connection.data_received(BEGIN + b"content-length: 500\r\n\r\n")
        for _ in range(9):
            await asyncio.sleep(0)
        if ends:
            connection.data_received(b"x" * 500)
        until = asyncio.get_running_loop().time() + (0.7 if ends else 10)
        while not transport.aborted and asyncio.get_running_loop().time() < until:
            connection.data_received(b"" if ends else b"x")
            await asyncio.sleep(0.03)
        aborted = transport.aborted
        connection.connection_lost(OSError())
        return aborted

    assert asyncio.run(run()) is not ends
