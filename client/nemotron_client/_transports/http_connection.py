"""How both HTTP transports connect, and what their connections' failures become."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import httpx2

from nemotron_client._errors import NemotronError, RequestTimeoutError, ServerUnavailableError, from_status, not_http
from nemotron_client._transports.base import Connection, Tls
from nemotron_client._transports.tls_files import client_context
from nemotron_client._version import user_agent

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
