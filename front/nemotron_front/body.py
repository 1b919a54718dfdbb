"""Reads what a caller sends: bounded, and as plain values."""

from __future__ import annotations

import asyncio
import codecs
import re
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from nemotron_front.errors import compressed, invalid, request_timeout, too_large

_MAX_DEPTH = 100  # the server takes 64 levels of a schema, which lie within a request
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_MOST_MARKS = 200_000  # a prompt of 131,072 token ids has fewer; reading so many values takes some 30 ms
_MARKS = (b",", b"[", b"{")
_COMPRESSIONS = (b"gzip", b"x-gzip", b"deflate", b"compress", b"br", b"zstd")


class CallerLeft(Exception):
    """The connection ended, or had to be ended."""


async def read_json(scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> dict[str, Any]:
    """The JSON object in a request's body, without the fields that are null: they are as if left out.

    Of a key that comes twice the last one counts, as in every JSON library of Python.

    Args:
        scope: ASGI's.
        receive: ASGI's.
        max_bytes: The most that is read.
        timeout_s: How long the body may take to arrive.

    Raises:
        ApiError: it is compressed, too large, too slow, or no JSON object.
        CallerLeft: it never came to its end.
    """
    body = await _read(scope, receive, max_bytes, timeout_s)
    value = decoded(body)
    if not isinstance(value, dict):
        raise invalid(None, f"The body is a JSON {_kind(value)}, expected an object.", "invalid_json")
    return {name: one for name, one in value.items() if one is not None}


def decoded(body: bytes) -> Any:
    """The value that JSON text stands for.

    Raises:
        ApiError: it is no JSON, has too many values, is nested too deeply, or has an integer of more than 64 bits.
    """
    body = body.removeprefix(codecs.BOM_UTF8)  # which PowerShell and .NET write
    if not body.strip():
        raise invalid(None, "The body is empty, expected a JSON object.", "invalid_json")
    marks = _marks(body)
    if marks > _MOST_MARKS and _marks(_without_texts(body)) > _MOST_MARKS:
        message = f"The body has more than {_MOST_MARKS} commas and opening brackets outside texts; send fewer values."
        raise invalid(None, message, "invalid_json")
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(None, f"The body is not valid JSON: {error}.", "invalid_json") from None
    # Looking at every value is for bodies that may hold what is looked for.
    if marks > _MAX_DEPTH or _LONG_NUMBER.search(body):
        _check(value)
    return value


async def _read(scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> bytes:
    if (encoding := _header(scope, b"content-encoding").lower()) in _COMPRESSIONS:
        raise compressed(encoding.decode())
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise CallerLeft
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > max_bytes:
                    raise too_large(max_bytes)
                if not event.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise request_timeout(timeout_s) from None


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _marks(text: bytes) -> int:
    """How many marks begin a value, or another one: nearly so many values there are."""
    return sum(map(text.count, _MARKS))


def _without_texts(body: bytes) -> bytes:
    """JSON without what stands in its texts, which may be full of marks."""
    # So many texts have more marks between them than are taken, and the rest need not be parted.
    parts = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', 4 * _MOST_MARKS)
    return b"".join(parts[::2])


def _check(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [inner for one in level for inner in _inner(one)]
        if not level:
            return
    raise _too_deep()


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return value
    if isinstance(value, int) and not _LEAST_INTEGER <= value <= _MOST_INTEGER:
        raise invalid(None, "The body has an integer of more than 64 bits.", "invalid_json")
    return []


def _too_deep() -> Exception:
    return invalid(None, f"The body is nested more than {_MAX_DEPTH} levels deep.", "invalid_json")


def _kind(value: Any) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return kinds[type(value)]
