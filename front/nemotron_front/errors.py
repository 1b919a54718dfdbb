"""What goes wrong, as callers are told: a status, and OpenAI's error object with all four keys."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
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
    TlsError,
)

_logger = logging.getLogger(__name__)

_RETRY_SOON = {"retry-after": "1", "retry-after-ms": "1000", "x-should-retry": "true"}
# A server that starts again takes longer than one that is full.
_RETRY_LATER = {"retry-after": "3", "retry-after-ms": "3000", "x-should-retry": "true"}
_TOO_LONG = "maximum context length is"  # words that clients look for as well

_PATH_CHARACTERS = 120

_SHUTTING_DOWN = re.compile(r"shutting down|draining", re.IGNORECASE)


class ApiError(Exception):
    """A refusal or a failure.

    Attributes:
        status: The HTTP status.
        type: OpenAI's kind of error, such as `invalid_request_error`.
        code: What exactly, such as `invalid_value`.
        param: The field at fault, as the caller wrote it; None where there is none.
        headers: Further headers of the response; they say not to try again unless they are given otherwise.
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
        # Clients try again by themselves after any 408, 409, 429 and 5xx, unless they are told not to.
        self.headers = {"x-should-retry": "false", **headers}

    def renamed(self, names: Mapping[str, str]) -> ApiError:
        """The same, with the caller's name for the field at fault, in the message too. See the function `renamed`."""
        param = renamed(self.param or "", names)
        if not self.param or param == self.param:
            return self
        message = re.sub(f"^{re.escape(self.param)}(?=[.:[])", lambda _: param, str(self))
        return ApiError(self.status, self.type, self.code, message, param=param, headers=self.headers)

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        """`body` as JSON."""
        return msgspec.json.encode(self.body)


def renamed(param: str, names: Mapping[str, str]) -> str:
    """What the caller wrote where we say `param`.

    Args:
        param: A field, or a part of one.
        names: From fields, and parts of them, to what the caller wrote: with `{"messages[1]": "input[0]"}`,
            `messages[1].content` is `input[0].content`. The longest that fits is taken.
    """
    parts = [param[: found.start()] for found in re.finditer(r"[.\[]|$", param)]
    known = [part for part in parts if part in names]
    return names[known[-1]] + param.removeprefix(known[-1]) if known else param


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """A request that can never succeed.

    Args:
        param: The field at fault.
        message: What was given, what was expected, and what to do.
        code: OpenAI's code.
    """
    return ApiError(400, "invalid_request_error", code, message, param=param)


def no_http() -> ApiError:
    """What has come cannot be read as a request."""
    message = "What has come is no HTTP/1.1 request, or one that is written wrongly. For https put a proxy before this."
    headers = {"connection": "close"}
    return ApiError(400, "invalid_request_error", "invalid_http", message, headers=headers)


def request_timeout(limit_s: float) -> ApiError:
    """The body took too long to come."""
    message = f"The body did not arrive within {limit_s:g} s. Send it faster, or start the front with --body-seconds."
    # The rest of the body may still come: it must not be read as the next request.
    headers = {"connection": "close"}
    return ApiError(408, "invalid_request_error", "request_timeout", message, headers=headers)


def too_large(limit: int) -> ApiError:
    """The body is too large."""
    message = f"The body has more than {limit} bytes, which is the most that is taken (--max-body-mib)."
    return ApiError(413, "invalid_request_error", "request_too_large", message)


def compressed(encoding: str) -> ApiError:
    """The body is compressed."""
    message = f"content-encoding: {encoding} was given, but bodies are not unpacked: send it as it is."
    headers = {"accept-encoding": "identity"}
    return ApiError(415, "invalid_request_error", "unsupported_content_encoding", message, headers=headers)


def unknown_url(method: str, path: str, known: Iterable[str] = ()) -> ApiError:
    """There is nothing at this path; perhaps one of the known ones is meant, with more or less of `/v1` or a slash."""
    asked = path.rstrip("/")
    meant = [one for one in known if asked and (one.endswith(asked) or asked.endswith(one))]
    hint = f"Did you mean {min(meant, key=len)}?" if meant else "GET /openapi.json lists what there is."
    message = f"There is no {method} {_short(path)}. {hint}"
    return ApiError(404, "not_found_error", "unknown_url", message)


def wrong_method(method: str, path: str, allowed: str) -> ApiError:
    """There is something at this path, for other methods."""
    message = f"{_short(path)} does not take {method}, expected {allowed}."
    headers = {"allow": allowed}
    return ApiError(405, "invalid_request_error", "method_not_allowed", message, headers=headers)


def _short(path: str) -> str:
    """A caller's path, of which only the beginning is said back, and no control characters."""
    said = path if path.isprintable() else repr(path)[1:-1]
    return said if len(said) <= _PATH_CHARACTERS else f"{said[:_PATH_CHARACTERS]}…"


def missing_key(given: bool) -> ApiError:
    """No key that is known came with the request."""
    what = "The API key is wrong" if given else "There is no API key"
    message = f"{what}: send one of this server's in the header 'Authorization: Bearer KEY' or 'x-api-key: KEY'."
    headers = {"www-authenticate": "Bearer"}
    return ApiError(401, "authentication_error", "invalid_api_key", message, headers=headers)


def forbidden(message: str) -> ApiError:
    """Whoever asks may not, whatever the key."""
    return ApiError(403, "permission_error", "forbidden", message)


def overloaded(limit: int) -> ApiError:
    """The front itself has too much in hand."""
    message = f"This server has {limit} requests in hand, which is its limit; try again later."
    return ApiError(429, "rate_limit_error", "server_overloaded", message, headers=_RETRY_SOON)


def shutting_down() -> ApiError:
    """The front, or all servers behind it, take no new requests."""
    message = "This server is shutting down; try again later, or another one."
    return ApiError(503, "server_error", "shutting_down", message, headers=_RETRY_LATER)


def not_ready() -> ApiError:
    """No server can be reached, or its model is not loaded."""
    message = "The model's server is not ready, or the connection to it broke; try again later."
    return ApiError(503, "server_error", "not_ready", message, headers=_RETRY_LATER)


def late() -> ApiError:
    """The time was over before there was anything to send."""
    message = "The answer did not begin in the time that the request had."
    return ApiError(504, "server_error", "deadline_exceeded", message)


def unexpected(error: Exception, request_id: str) -> ApiError:
    """A fault of ours, or of the server. The log is told, in words that have nothing of what the caller has written."""
    if isinstance(error, NemotronError):
        _logger.warning("request %s: %s: %s", request_id, type(error).__name__, error)
    else:
        _logger.error("request %s: %s at %s", request_id, type(error).__name__, _way(error))
    message = f"The server failed. Its log has more under the request id {request_id}."
    return ApiError(500, "server_error", "server_error", message)


def from_client(error: NemotronError, request_id: str) -> ApiError:
    """What the caller is told of an error of the server, or of the way to it.

    Where the servers are is nobody's business but the log's.

    Args:
        error: The client's.
        request_id: Our name of the request, for an error that has none, such as of a server that never answered.
    """
    if isinstance(error, InvalidRequestError):
        return invalid(
            error.param, str(error), "context_length_exceeded" if _TOO_LONG in str(error) else "invalid_value"
        )
    if isinstance(error, OverloadedError):
        return ApiError(429, "rate_limit_error", "server_overloaded", str(error), headers=_RETRY_SOON)
    if isinstance(error, ServerUnavailableError) and _SHUTTING_DOWN.search(str(error)):
        return shutting_down()
    told = unexpected(error, error.request_id or request_id)
    if isinstance(error, (AuthenticationError, TlsError)):
        message = "The model's server does not let this front in; its log has more."
        told = ApiError(502, "server_error", "upstream_authentication", message)
    elif isinstance(error, RequestTimeoutError) and error.phase != "connect":
        told = late()
    elif isinstance(error, (ModelNotReadyError, ServerUnavailableError, RequestTimeoutError)):
        told = not_ready()
    return told


def _way(error: BaseException) -> str:
    """The lines of code that led to it."""
    way = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{Path(line.filename).name}:{line.lineno}" for line in way[-6:])


def anthropic_body(error: ApiError) -> dict[str, Any]:
    """An error as Anthropic writes it."""
    kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}}


def anthropic_json(error: ApiError) -> bytes:
    """`anthropic_body` as JSON."""
    return msgspec.json.encode(anthropic_body(error))


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
