"""What both HTTP transports share: connections, requests, responses and errors. Does no I/O."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import httpx2

from nemotron_client._contract import CALLER_HEADER, OCCASIONAL_OUTPUTS
from nemotron_client._errors import (
    NemotronError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    from_status,
    from_stream_error,
    not_http,
)
from nemotron_client._transports.base import Call, Connection, Tls
from nemotron_client._transports.identity import client_context, user_agent

EVENT_STREAM = "text/event-stream"
# Statuses in gRPC's words; without an entry, the server failed.
_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}
_OK = 200
_UNAVAILABLE = 503
_FROM_GATEWAYS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
_GATEWAY_STATUSES = (502, 503, 504)  # a gateway's word for a server that does not answer it


def base_url(url: str) -> str:
    """The URL that paths are put behind."""
    return url.rstrip("/")


def generate_path(call: Call) -> str:
    """Where a call goes, one that wants a single response too.

    There the errors of a model come as events and those of Triton's HTTP front as plain JSON; `/generate` does not keep
    them apart.
    """
    return f"/v2/models/{quote(call.model, safe='')}/generate_stream"


def ready_path(model: str) -> str:
    """Where to ask whether a model, or for "" the server, is ready."""
    return f"/v2/models/{quote(model, safe='')}/ready" if model else "/v2/health/ready"


def config_path(model: str) -> str:
    """Where a model's configuration is."""
    return f"/v2/models/{quote(model, safe='')}/config"


def generate_body(call: Call) -> bytes:
    """A call as JSON. Triton takes the key `id` as the request's id, by which it can be cancelled.

    Whose it is stands beside it, if a header says so: Triton hands no header of this endpoint on to its models. It is
    not sent unasked, for servers before 0.2 refuse the key.
    """
    caller = {name: value for name, value in call.headers.items() if name == CALLER_HEADER}
    return json.dumps({"id": call.request_id, **caller, **call.inputs}, ensure_ascii=False).encode()


def generate_headers(call: Call) -> dict[str, str]:
    """The headers of a call. Triton compresses no events, but a gateway may."""
    encoding = call.compression or "identity"
    headers = {name: value for name, value in call.headers.items() if name != CALLER_HEADER}
    return {"content-type": "application/json", "accept": EVENT_STREAM, "accept-encoding": encoding, **headers}


def is_event_stream(content_type: str) -> bool:
    """Whether a response holds events, whatever its status is."""
    return content_type.partition(";")[0].strip().lower() == EVENT_STREAM


class EventReader:
    """Takes server-sent events apart, however they are cut into chunks. Knows of them what Triton sends: `data`."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def events_in(self, chunk: bytes) -> Iterator[bytes]:
        """The data of every event that these bytes complete."""
        lines = (self._rest + chunk).splitlines(keepends=True)
        # The last line may go on, and a CR at the end may be the first half of CRLF.
        self._rest = b"" if not lines or lines[-1].endswith(b"\n") else lines.pop()
        for line in lines:
            text = line.rstrip(b"\r\n")
            if text.startswith(b"data:"):
                self._data.append(text[5:].removeprefix(b" "))
            elif not text and self._data:
                data, self._data = self._data, []
                yield b"\n".join(data)

    @property
    def incomplete(self) -> bool:
        """Whether an event has begun."""
        return bool(self._data or self._rest.strip(b"\r\n"))


class ResponseReader:
    """The responses in the body of an answer with events."""

    def __init__(self, call: Call, url: str) -> None:
        self._events = EventReader()
        self._always = [name for name in call.outputs if name not in OCCASIONAL_OUTPUTS]
        self._occasional = [name for name in call.outputs if name in OCCASIONAL_OUTPUTS]
        self._request_id = call.request_id
        self._url = url

    def responses_in(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The values by output name of every response that these bytes complete.

        Raises:
            NemotronError: the request has failed, or this is not the answer of a generate endpoint.
        """
        for event in self._events.events_in(chunk):
            yield self._values(event)

    def end(self) -> None:
        """The body has ended.

        Raises:
            ServerUnavailableError: in the middle of an event.
        """
        if self._events.incomplete:
            message = f"The answer of {self._url} broke off in the middle of an event"
            raise ServerUnavailableError(message, request_id=self._request_id, url=self._url)

    def _values(self, event: bytes) -> dict[str, Any]:
        try:
            found = json.loads(event)
            if "error" in found:
                raise from_stream_error(str(found["error"]), request_id=self._request_id, url=self._url)
            values = {name: found[name] for name in self._always}
            return values | {name: found[name] for name in self._occasional if name in found}
        except (ValueError, TypeError):
            self._refuse("an event is no JSON object")
        except KeyError as error:
            self._refuse(f"an event lacks the output {error}")

    def _refuse(self, reason: str) -> NoReturn:
        message = f"{self._url} answered what Triton would not: {reason}"
        raise ServerError(message, request_id=self._request_id, url=self._url) from None


def refusal(status: int, content_type: str, body: bytes, *, request_id: str, url: str) -> NemotronError:
    """The typed error for an answer without events, from Triton's HTTP front or from a gateway before it."""
    where = {"request_id": request_id, "url": url}
    message = _error_in(body)
    if message is not None:
        if status == _UNAVAILABLE:
            return from_stream_error(f"{message} (UNAVAILABLE)", **where)
        if status not in _STATUS_NAMES:
            return ServerError(f"{url} answered HTTP status {status}: {message}", **where)
        return from_status(_STATUS_NAMES[status], message, **where)
    kind = content_type.partition(";")[0].strip() or "nothing"
    text = f"{url} answered HTTP status {status} with {kind}, expected Triton's JSON"
    if status in _GATEWAY_STATUSES:
        return ServerUnavailableError(f"{text}; a gateway does not reach its server", **where)
    if status in _FROM_GATEWAYS:
        return from_status(_FROM_GATEWAYS[status], text, **where)
    hint = "Is this the URL of a Triton server? OpenAI's API has a port of its own; nemotron-serve prints both."
    return ServerError(f"{text}. {hint}", **where)


def last_values(call: Call, status: int, content_type: str, body: bytes, *, url: str) -> dict[str, Any]:
    """The outputs of the last response in the whole answer to a call; none where there is none.

    Raises:
        NemotronError: the call has failed, or this is not the answer of a generate endpoint.
    """
    if not is_event_stream(content_type):
        raise refusal(status, content_type, body, request_id=call.request_id, url=url)
    reader = ResponseReader(call, url)
    values: dict[str, Any] = {}
    for values in reader.responses_in(body):  # noqa: B007 - the last ones
        pass
    reader.end()
    return values


def says_yes(status: int, content_type: str, body: bytes, *, url: str) -> bool:
    """Whether the answer to a question about health is yes.

    Raises:
        AuthenticationError: it is none, for want of credentials.
    """
    if status in (401, 403):
        raise refusal(status, content_type, body, request_id="", url=url)
    return status == _OK


def metadata_of(status: int, content_type: str, body: bytes, *, url: str) -> dict[str, Any]:
    """What the server says of itself.

    Raises:
        NemotronError: it refuses, or does not say it as Triton does.
    """
    if status != _OK:
        raise refusal(status, content_type, body, request_id="", url=url)
    try:
        found = json.loads(body)
        return {name: found[name] for name in ("name", "version", "extensions")}
    except (ValueError, TypeError, KeyError):
        message = f"{url} does not describe itself as Triton does. Is this the URL of a Triton server?"
        raise ServerError(message, request_id="", url=url) from None


def parameters_of(status: int, body: bytes) -> dict[str, str]:
    """The parameters of a model's configuration; none where the server does not show it."""
    try:
        found = json.loads(body)["parameters"] if status == _OK else {}
        return {str(name): str(value["string_value"]) for name, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _error_in(body: bytes) -> str | None:
    """Triton's error message, a string; None if there is none. With OpenAI's API it is an object."""
    try:
        found = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None


# Shorter than what gateways keep an idle connection for: a minute, mostly.
IDLE_S = 30.0
MAX_IDLE = 32
# httpx2 lets an alert that comes after the TLS handshake through as it is: asyncio's streams raise ssl.SSLError.
FAILURES = (httpx2.RequestError, OSError)
_OTHER_PROTOCOL = "illegal request line"  # h11's words for the first bytes of HTTP/2


def ssl_context(url: str, tls: Tls | None) -> ssl.SSLContext:
    """What a connection's TLS is made with; without TLS it is not used. Raises what `client_context` raises."""
    if urlsplit(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return client_context(tls or Tls(), httpx2.create_ssl_context)


def socket_options(connection: Connection) -> list[tuple[int, int, int]]:
    """Has the system look whether the other side of a silent connection is still there."""
    seconds = {"TCP_KEEPIDLE": connection.keepalive_time_s, "TCP_KEEPINTVL": connection.keepalive_timeout_s}
    values = {name: max(1, round(value)) for name, value in seconds.items()}
    # What stays unanswered for so long breaks the connection, be it data or a question for a sign of life.
    values["TCP_USER_TIMEOUT"] = max(1, round(1000 * connection.keepalive_timeout_s))
    # Not every system has all of them.
    known = [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in values.items() if hasattr(socket, name)
    ]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *known]


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    connection: Connection,
    *,
    body: bytes | None = None,
    timeout_s: float | None = None,
) -> httpx2.Request:
    """A request. How long an answer may take is measured above the seam, unless `timeout_s` says it."""
    connect_s = connection.connect_timeout_s
    if timeout_s is not None:
        connect_s = timeout_s if connect_s is None else min(connect_s, timeout_s)
    timeouts = httpx2.Timeout(timeout_s, connect=connect_s).as_dict()
    return httpx2.Request(
        method, url, headers={"user-agent": user_agent(), **headers}, content=body, extensions={"timeout": timeouts}
    )


def connection_error(error: Exception, *, request_id: str, url: str) -> NemotronError:
    """The typed error for a request that found no connection, or whose connection broke."""
    where = {"request_id": request_id, "url": url}
    if isinstance(error, httpx2.ConnectTimeout):
        message = f"No connection to {url} in the time that `Timeouts.connect` gives"
        return RequestTimeoutError(message, phase="connect", request_id=request_id, url=url)
    if isinstance(error, httpx2.TimeoutException):
        return from_status("DEADLINE_EXCEEDED", "", **where)
    reasons = list(_reasons(error))
    reason = next((str(one) for one in reasons if str(one)), type(error).__name__)
    if isinstance(error, httpx2.ConnectError) or any(isinstance(one, ssl.SSLError) for one in reasons):
        return from_status("UNAVAILABLE", reason, **where)
    if isinstance(error, httpx2.RemoteProtocolError) and _OTHER_PROTOCOL in reason:
        return not_http(reason, **where)
    return ServerUnavailableError(f"The connection to {url} broke ({reason})", **where)


def given_up(request_id: str, url: str) -> NemotronError:
    """What a call that was aborted raises, or one whose transport was closed."""
    return ServerUnavailableError(f"The request to {url} was given up", request_id=request_id, url=url)


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those behind it; the first ones are often silent."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
