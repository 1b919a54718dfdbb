"""Reads what a caller sends: bounded, and as plain values."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import Receive

from nemotron_front.errors import ApiError, invalid


class CallerLeft(Exception):
    """The connection ended."""


async def read_json(receive: Receive, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a request's body.

    Args:
        receive: ASGI's.
        max_bytes: The most that is read.

    Raises:
        ApiError: it is too large, or no JSON object.
        CallerLeft: it never came to its end.
    """
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise CallerLeft
        body += event.get("body", b"")
        if len(body) > max_bytes:
            message = f"The body has more than {max_bytes} bytes, which is the most that is taken"
            raise ApiError(413, "invalid_request_error", "request_too_large", message)
        if not event.get("more_body", False):
            break
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(None, f"The body is not valid JSON: {error}", "invalid_json") from None
    if not isinstance(value, dict):
        raise invalid(None, f"The body is a JSON {type(value).__name__}, expected an object", "invalid_json")
    return {name: one for name, one in value.items() if one is not None}
