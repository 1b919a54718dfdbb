"""One transport for each URL scheme, imported when it is first used."""

from __future__ import annotations

from urllib.parse import urlsplit

from nemotron_client._transports.base import AsyncTransport, Connection, Transport

_GRPC = ("grpc", "grpcs")
_HTTP = ("http", "https")


def transport_for(url: str, connection: Connection) -> Transport:
    """The transport that the URL's scheme asks for.

    Raises:
        ValueError: another scheme, or no host.
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
    if parts.scheme not in (*_GRPC, *_HTTP) or not parts.hostname:
        schemes = ", ".join(f"{scheme}://HOST:PORT" for scheme in (*_GRPC, *_HTTP))
        raise ValueError(f"{url!r} was given, expected one of {schemes}")
    return parts.scheme
