"""What a body may be: its size, its time, and its JSON."""

from __future__ import annotations

import asyncio
import codecs
import json
import zlib
from typing import Any

import pytest

from tests.unit.front.caller import Caller, ask
from tests.unit.front.scripts import CHAT, HI, app_of

MIB = 1 << 20


def asked(body: Any, **headers: str) -> Caller:
    app, _ = app_of("Hello.", max_body_mib=1)
    return asyncio.run(ask(app, CHAT, body, **headers))


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b" \n",
        b"[]",
        b"null",
        b'"text"',
        b"{} {}",
        b'{"messages": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e999}',
        b'{"seed": 1180591620717411303424}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\\udc00 after"}]}',
        b'{"messages": "\xff"}',
        b'{"metadata": ' + b"[" * 101 + b"]" * 101 + b"}",
        b'{"metadata": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
        b"[" * 100_000,
        b'{"metadata": [' + b"[]," * 150_000 + b"[]]}",
        b'{"metadata": ["' + b'\\",' * 9 + b'"' + b",1" * 210_000 + b"]}",
        b'{"metadata": [' + b'"",' * 210_000 + b'""]}',
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    caller = asked(body)
    assert caller.status == 400
    assert caller.error["code"] == "invalid_json"
    assert caller.error["type"] == "invalid_request_error"
    assert caller.headers["x-should-retry"] == "false"


def test_deep_values_are_taken_up_to_the_limit() -> None:
    deep: Any = "x"
    for _ in range(90):
        deep = {"a": deep}
    assert asked({**HI, "metadata": deep}).status == 200


@pytest.mark.parametrize("text", ["[{,", '"[{\\', "a, b\n"])
def test_long_texts_of_commas_and_brackets_are_taken(text: str) -> None:
    assert asked({**HI, "user": "a", "messages": [{"role": "user", "content": text * 120_000}]}).status == 200


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    body = b'{"model": "other", "messages": [{"role": "user", "content": "Hi"}], "model": "m"}'
    assert asked(body).json["model"] == "m"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", ""])
def test_any_content_type_is_taken(content_type: str) -> None:
    assert asked(HI, content_type=content_type).status == 200


@pytest.mark.parametrize("encoding", ["", "identity", "utf-8"])
def test_a_body_as_it_is_is_taken(encoding: str) -> None:
    assert asked(HI, content_encoding=encoding).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd"])
def test_a_compressed_body_is_refused_by_its_encoding(encoding: str) -> None:
    caller = asked(zlib.compress(b"{}"), content_encoding=encoding)
    assert (caller.status, caller.error["code"]) == (415, "unsupported_content_encoding")
    assert encoding.lower() in caller.error["message"]
    assert caller.headers["accept-encoding"] == "identity"


def test_a_byte_order_mark_is_skipped() -> None:
    assert asked(codecs.BOM_UTF8 + json.dumps(HI).encode()).status == 200
    assert asked(codecs.BOM_UTF8).error["message"].startswith("The body is empty")


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async def run() -> Caller:
        app, _ = app_of(max_body_mib=1)
        caller = Caller(app, CHAT, b"", content_length=str(MIB + 1))
        return await caller.start().end()

    caller = asyncio.run(run())
    assert caller.status == 413
    assert caller.error["code"] == "request_too_large"


def test_a_body_over_the_limit_is_refused_when_it_says_no_length() -> None:
    caller = asked([b" " * (MIB // 2)] * 3)
    assert caller.status == 413
    assert caller.error["code"] == "request_too_large"


def test_a_body_may_come_in_parts() -> None:
    assert asked([b'{"model": "m", "mess', b'ages": [{"role": "user", "con', b'tent": "Hi"}]}', b""]).status == 200


def test_a_body_that_does_not_come_is_waited_for_so_long() -> None:
    async def run() -> Caller:
        app, _ = app_of(body_seconds=0.02)
        return await Caller(app, CHAT, b'{"messages', stuck=True).start().end()

    caller = asyncio.run(run())
    assert caller.status == 408
    assert caller.error["code"] == "request_timeout"
    assert caller.headers["connection"] == "close"


def test_a_caller_that_leaves_within_its_body_is_forgotten() -> None:
    async def run() -> tuple[Caller, int]:
        app, transport = app_of("Hello.")
        caller = Caller(app, CHAT, b'{"messages', stuck=True).start()
        caller.leave()
        await caller.end()
        assert not app.front.exchanges
        return caller, len(transport.requests)

    caller, requests = asyncio.run(run())
    assert (caller.status, requests) == (0, 0)
