"""Every error that the client raises.

NemotronError
├── TransportError               no answer, or only a part of it
│   ├── ServerUnavailableError   no server at this URL, it is shutting down, or the connection broke
│   ├── TlsError                 the two sides do not trust each other
│   └── RequestTimeoutError      no answer in the time given; `phase` says which part took too long
├── InvalidRequestError          the request can never succeed; `param` names the field
├── AuthenticationError          the server wants credentials that it was not given
├── ModelNotReadyError           the server runs, the model does not
├── OverloadedError              the server is full: try again later
├── ServerError                  the server failed
├── ParseError                   the answer is not what `response_format` describes; `reply` has what came
└── StreamClosedError            the program reads a stream that it has closed

Arguments of a wrong type or range raise TypeError and ValueError before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from nemotron_client._types import Reply

Phase = Literal["connect", "first_token", "between_tokens", "total"]
"""A part of `Timeouts`."""


class NemotronError(Exception):
    """Base of all.

    Attributes:
        request_id: The request at fault, as the server's log knows it; empty for a question about the server.
        url: The server.
    """

    def __init__(self, message: str, *, request_id: str, url: str) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.url = url

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


class TransportError(NemotronError):
    """No answer came, or only a part of it."""


class ServerUnavailableError(TransportError):
    """No server answers at this URL, it is shutting down, or the connection broke. Another replica may do."""


class TlsError(TransportError):
    """The server's certificate is not trusted, or it does not trust ours. Waiting does not help."""


class RequestTimeoutError(TransportError):
    """The answer did not come in the time given. The server was told to stop.

    Attributes:
        phase: What took too long: `connect`, `first_token`, `between_tokens` or `total`, as in `Timeouts`.
    """

    def __init__(self, message: str, *, phase: Phase, request_id: str, url: str) -> None:
        super().__init__(message, request_id=request_id, url=url)
        self.phase = phase


class InvalidRequestError(NemotronError):
    """The request can never succeed. The message says what was given and what was expected.

    Attributes:
        param: The field at fault, or None where the message names none.
    """

    def __init__(self, message: str, *, request_id: str, url: str) -> None:
        super().__init__(message, request_id=request_id, url=url)
        found = _PARAM.match(message)
        self.param: str | None = found[1] if found else None


class AuthenticationError(NemotronError):
    """The server, or the gateway before it, wants credentials: see the argument `headers` of the client."""


class ModelNotReadyError(NemotronError):
    """The server runs but the model is not loaded: wait with `wait_ready`, or look at the server's log."""


class OverloadedError(NemotronError):
    """The server is full. The same request may succeed later."""


class ServerError(NemotronError):
    """The server failed while it worked on the request. Its log has more under the request id."""


class ParseError(NemotronError):
    """The answer is not the object that `response_format` describes, most often because it was cut off.

    Attributes:
        reply: The reply, with nothing in `parsed`.
    """

    def __init__(self, message: str, *, reply: Reply, url: str) -> None:
        super().__init__(message, request_id=reply.request_id, url=url)
        self.reply = reply


class StreamClosedError(NemotronError):
    """The program asks a stream for more after it was closed. Read to the end, or call `get_final`, before that."""


def from_stream_error(message: str, *, request_id: str, url: str) -> NemotronError:
    """The typed error for the error message of a response.

    A stream's errors carry no gRPC status (the header that asks Triton 2.51 for one lets it crash), so the models
    end their messages with it. Messages of Triton itself have none and are told by their words.
    """
    found = _STATUS.search(message)
    if found is None and _NOT_READY.search(message):
        return ModelNotReadyError(_not_ready(url, message), request_id=request_id, url=url)
    text = _ENSEMBLE.sub("", _STATUS.sub("", message))
    status = found[1] if found else "INTERNAL"
    if status == "UNAVAILABLE" and not _SHUTTING_DOWN.search(text):
        return OverloadedError(text, request_id=request_id, url=url)
    return from_status(status, text, request_id=request_id, url=url)


def from_status(status: str, details: str, *, request_id: str, url: str) -> NemotronError:
    """The typed error for a call that ended with a gRPC status, or with an HTTP status put into its words.

    Args:
        status: The name of a gRPC status, such as `UNAVAILABLE`.
        details: The text that came with it.
        request_id: The request at fault.
        url: The server.
    """
    if status == "UNAVAILABLE":
        return _unavailable(details, request_id=request_id, url=url)
    if status == "DEADLINE_EXCEEDED":
        message = f"{url} did not answer in time"
        return RequestTimeoutError(message, phase="total", request_id=request_id, url=url)
    if status == "CANCELLED":
        message = f"{url} ended the request ({details or 'no reason given'}); it is probably shutting down"
        return ServerUnavailableError(message, request_id=request_id, url=url)
    if _LOST.search(details):
        message = f"{url} lost a model's process ({details.rstrip('.')}); nemotron-serve starts it again"
        return ServerUnavailableError(message, request_id=request_id, url=url)
    if status == "NOT_FOUND" or _NOT_READY.search(details):
        return ModelNotReadyError(_not_ready(url, details), request_id=request_id, url=url)
    kind = _BY_STATUS.get(status, ServerError)
    return kind(details or f"{url} answered {status}", request_id=request_id, url=url)


def not_ready_in_time(urls: Sequence[str], timeout_s: float, *, live: bool, reason: str = "") -> NemotronError:
    """For servers that were waited for in vain.

    Args:
        urls: All servers that were waited for.
        timeout_s: How long they were waited for.
        live: Whether one of them answers.
        reason: What the last one that was asked failed with.
    """
    where = ", ".join(urls)
    if live:
        message = f"{where} answers, but has no model ready after {timeout_s:g} s; the server's log says why"
        return ModelNotReadyError(message, request_id="", url=where)
    reason = reason or f"{where} cannot be reached"
    message = f"{reason}{'' if reason.endswith(('.', '?')) else '.'} Tried for {timeout_s:g} s."
    return ServerUnavailableError(message, request_id="", url=where)


def not_http(reason: str, *, request_id: str, url: str) -> NemotronError:
    """For an answer that is not HTTP/1.1, as the gRPC port gives it."""
    message = f"{url} does not answer in HTTP/1.1 ({reason}). {_other_port(url)}"
    return ServerUnavailableError(message, request_id=request_id, url=url)


def _unavailable(details: str, *, request_id: str, url: str) -> NemotronError:
    where = {"request_id": request_id, "url": url}
    if "protocol is restricted" in details:
        return AuthenticationError(f"{url}: {details}. Pass the header in `headers`.", **where)
    if _FULL.search(details):
        return OverloadedError(details, **where)
    if _TLS.search(details):
        return TlsError(f"{url} and this client do not trust each other ({details}). See the argument `tls`.", **where)
    if _SLOW_CONNECT.search(details):
        message = f"No connection to {url} in the time that `Timeouts.connect` gives ({details})"
        return RequestTimeoutError(message, phase="connect", **where)
    return ServerUnavailableError(_absence(url, details), **where)


def _absence(url: str, details: str) -> str:
    if _SHUTTING_DOWN.search(details):
        return f"{url} is shutting down ({details})"
    if _NO_CONNECTION.search(details) and _NOT_GRPC.search(details):
        return f"{url} closes the connection before it answers in gRPC ({details}). {_other_port(url)}"
    if _NO_CONNECTION.search(details):
        return f"{url} cannot be reached ({details}). Is the server running? Start one with 'nemotron-serve PACKAGE'."
    return f"The connection to {url} broke ({details}). Did the server end? Its log says why."


def _other_port(url: str) -> str:
    scheme, _, address = url.partition("://")
    here, other = ("gRPC", "HTTP") if scheme.startswith("grpc") else ("HTTP", "gRPC")
    return (
        f"Is this the server's {other} port? Then write {_OTHER_SCHEMES.get(scheme, scheme)}://{address}, or name its "
        f"{here} port: nemotron-serve prints both when it is ready."
    )


def _not_ready(url: str, details: str) -> str:
    path = urlsplit(url).path.rstrip("/")
    if path and not _NOT_READY.search(details):
        return (
            f"{url}: {details}. Is there a gateway that serves Triton at {path}? If not, leave {path} out of the URL."
        )
    return f"{details}. Wait with `client.wait_ready`; if that does not help, the server's log says why."


def _rebuilt(kind: type[NemotronError], args: tuple[object, ...], state: dict[str, object]) -> NemotronError:
    """Unpickle: constructors take keywords, which Exception's own way does not know."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


_BY_STATUS: dict[str, type[NemotronError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "PERMISSION_DENIED": AuthenticationError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "UNAUTHENTICATED": AuthenticationError,
}
_OTHER_SCHEMES = {"grpc": "http", "grpcs": "https", "http": "grpc", "https": "grpcs"}
_STATUS = re.compile(r" \((INVALID_ARGUMENT|UNAVAILABLE|INTERNAL)\)$")
_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")
_PARAM = re.compile(r"([a-z_][a-z0-9_.\[\]]*): ")
_NOT_READY = re.compile(r"unknown model|not at ready state|is not ready|has no available versions", re.IGNORECASE)
_LOST = re.compile(r"stub process .*is not healthy", re.IGNORECASE)
_SHUTTING_DOWN = re.compile(r"shutting down|draining|server is stopping", re.IGNORECASE)
_FULL = re.compile(r"maximum queue size|in flight", re.IGNORECASE)
_TLS = re.compile(r"ssl|handshake|certificate", re.IGNORECASE)
_NO_CONNECTION = re.compile(r"connect to|attempts failed|refused|resol|not known|unreachable", re.IGNORECASE)
_NOT_GRPC = re.compile(r"socket closed|http1|before receiving http/2", re.IGNORECASE)
_SLOW_CONNECT = re.compile(r"connect.*(timed? ?out|deadline)|before receiving SETTINGS", re.IGNORECASE)
