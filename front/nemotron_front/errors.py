"""What goes wrong, as callers are told: a status, and OpenAI's error object with all four keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_client import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerUnavailableError,
)

_RETRY_SOON = {"retry-after": "1", "retry-after-ms": "1000", "x-should-retry": "true"}
# A generation may be half done: clients that try again by themselves are told not to.
_NO_RETRY = {"x-should-retry": "false"}
_TOO_LONG = "maximum context length is"  # words that clients look for as well


class ApiError(Exception):
    """A refusal or a failure.

    Attributes:
        status: The HTTP status.
        type: OpenAI's kind of error, such as `invalid_request_error`.
        code: What exactly, such as `invalid_value`.
        param: The field at fault, as the caller wrote it; None where there is none.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        type: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.headers = headers

    def renamed(self, names: Mapping[str, str]) -> ApiError:
        """The same, with the caller's word for the field at fault.

        Args:
            names: From a field, also one that the field at fault is a part of, to what the caller wrote: with
                `{"messages[1]": "input[0]"}`, `messages[1].content` becomes `input[0].content`.
        """
        param = self.param or ""
        parts = (param[: found.start()] for found in re.finditer(r"[.\[]|$", param))
        known = [part for part in parts if part in names]
        if not known:
            return self
        longest = known[-1]
        renamed = names[longest] + param.removeprefix(longest)
        message = re.sub(f"^{re.escape(param)}: ", lambda _: f"{renamed}: ", str(self))
        return ApiError(self.status, self.type, self.code, message, param=renamed, headers=self.headers)

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        """`body` as JSON."""
        return msgspec.json.encode(self.body)


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """A request that can never succeed.

    Args:
        param: The field at fault.
        message: What was given, what was expected, and what to do.
        code: OpenAI's code.
    """
    return ApiError(400, "invalid_request_error", code, message, param=param, headers=_NO_RETRY)


def from_client(error: NemotronError) -> ApiError:
    """What the caller is told of an error of the server, or of the way to it."""
    text = str(error)
    if isinstance(error, InvalidRequestError):
        return invalid(error.param, text, "context_length_exceeded" if _TOO_LONG in text else "invalid_value")
    if isinstance(error, OverloadedError):
        return ApiError(429, "rate_limit_error", "server_overloaded", text, headers=_RETRY_SOON)
    if isinstance(error, (ModelNotReadyError, ServerUnavailableError)):
        return ApiError(503, "server_error", "not_ready", text, headers=_RETRY_SOON)
    if isinstance(error, RequestTimeoutError):
        return ApiError(504, "server_error", "deadline_exceeded", text, headers=_NO_RETRY)
    if isinstance(error, AuthenticationError):
        return ApiError(502, "server_error", "upstream_authentication", text, headers=_NO_RETRY)
    return ApiError(500, "server_error", "server_error", text, headers=_NO_RETRY)
