"""A caller's connection: what of a request's head is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from nemotron_front.connection import connection_type
from nemotron_front.options import FrontOptions

CHUNK = b"x" * 50_000
BEGIN = b"POST / HTTP/1.1\r\nhost: h\r\n"


class Transport(asyncio.Transport):
    """Nothing behind it."""

    aborted = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def takes_all(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def chunks_taken(chunks: Iterable[bytes]) -> int:
    """How many of them come before the connection ends."""

    async def run() -> int:
        config = Config(takes_all, lifespan="off", log_config=None)
        config.load()
        connection = connection_type(FrontOptions())(config, ServerState(), {})
        transport = Transport()
        connection.connection_made(transport)
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
