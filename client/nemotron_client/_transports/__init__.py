"""The ways to a server: the seam, and one transport for each URL scheme, imported when it is first used."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from nemotron_client._transports.base import (
    AsyncResponseStream,
    AsyncTransport,
    Call,
    Connection,
    ResponseStream,
    Tls,
    Transport,
)

__all__ = [
    "AsyncResponseStream",
    "AsyncTransport",
    "Call",
    "Connection",
    "ResponseStream",
    "Tls",
    "Transport",
    "async_transport_for",
    "transport_for",
]

_GRPC = ("grpc", "grpcs")
_HTTP = ("http", "https")


def transport_for(url: str, connection: Connection) -> Transport:
    """The transport that the URL's scheme asks for.

    Raises:
        ValueError: another scheme, no host, or something that this scheme does not have.
    """
    if _scheme(url) in _GRPC:
        from nemotron_client._transports.grpc_sync import GrpcTransport

        return GrpcTransport(url, connection)
    from nemotron_client._transports.http_sync import HttpTransport

    return HttpTransport(url, connection)


def async_transport_for(url: str, connection: Connection) -> AsyncTransport:
    """The transport for asyncio that the URL's scheme asks for. Raises what `transport_for` raises."""
    if _scheme(url) in _GRPC:
        from nemotron_client._transports.grpc_async import AsyncGrpcTransport

        return AsyncGrpcTransport(url, connection)
    from nemotron_client._transports.http_async import AsyncHttpTransport

    return AsyncHttpTransport(url, connection)


def _scheme(url: str) -> str:
    parts = urlsplit(url)
    schemes = [parts.scheme] if parts.scheme in (*_GRPC, *_HTTP) else [*_GRPC, *_HTTP]
    expected = f"expected {'one of ' * (len(schemes) > 1)}{', '.join(f'{scheme}://HOST:PORT' for scheme in schemes)}"
    if "@" in url:  # never the URL itself, which may hold a password
        raise ValueError(f"url: one with a user was given, {expected}; credentials go into `headers`")
    if len(schemes) > 1 or not _fits(parts):
        raise ValueError(f"url: {url!r} was given, {expected}")
    return parts.scheme


def _fits(parts: SplitResult) -> bool:
    try:
        has_port = parts.port is not None
    except ValueError:  # none that exists
        return False
    if parts.scheme in _GRPC and parts.path not in ("", "/"):
        return False
    # gRPC would take a port that is left out for 443, where nobody serves without TLS.
    return bool(parts.hostname) and (has_port or parts.scheme != "grpc") and not (parts.query or parts.fragment)
