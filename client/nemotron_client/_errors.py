"""Every error that the client raises.

NemotronError
├── InvalidRequestError      the request can never succeed; the message names the field
├── OverloadedError          the server is full or shutting down: try again later
├── ConnectError             no server at this URL, or the connection broke
├── RequestTimeoutError      no answer in time
└── ServerError              the server failed
"""

from __future__ import annotations

import re

import grpc


class NemotronError(Exception):
    """Base of all.

    Attributes:
        request_id: The request at fault, as the server's log knows it.
        url: The server.
    """

    def __init__(self, message: str, *, request_id: str, url: str) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.url = url


class InvalidRequestError(NemotronError):
    """The request can never succeed. The message names the field, what was given and what was expected."""


class OverloadedError(NemotronError):
    """The server is full or shutting down. The same request may succeed later."""


class ConnectError(NemotronError):
    """No server answers at this URL, or the connection broke in mid-stream."""


class RequestTimeoutError(NemotronError):
    """The answer did not come in the time given. The server was told to stop."""


class ServerError(NemotronError):
    """The server failed while it worked on the request."""


_BY_STATUS: dict[str, type[NemotronError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "UNAVAILABLE": OverloadedError,
}
_STATUS = re.compile(r" \((INVALID_ARGUMENT|UNAVAILABLE|INTERNAL)\)$")
_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")


def from_stream_error(message: str, *, request_id: str, url: str) -> NemotronError:
    """The typed error for the error message of a response.

    A stream's errors carry no gRPC status (the header that asks Triton 2.51 for one lets it crash), so the models
    end their messages with it.
    """
    found = _STATUS.search(message)
    kind = _BY_STATUS.get(found[1], ServerError) if found else ServerError
    text = _ENSEMBLE.sub("", _STATUS.sub("", message))
    return kind(text, request_id=request_id, url=url)


def from_rpc_error(error: grpc.RpcError, *, request_id: str, url: str) -> NemotronError:
    """The typed error for a call that gRPC itself ended."""
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE:
        message = f"{url} cannot be reached ({details}). Is the server running? Start one with 'make serve'."
        return ConnectError(message, request_id=request_id, url=url)
    kind = RequestTimeoutError if code == grpc.StatusCode.DEADLINE_EXCEEDED else ServerError
    return kind(f"{code.name}: {details}", request_id=request_id, url=url)
