"""A unary gRPC call with whatever header, also one that no library sends: HTTP/2 by hand."""

from __future__ import annotations

import socket
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_END_STREAM, _END_HEADERS = 1, 4


def is_answered(address: tuple[str, int], path: str, name: str, value: str) -> bool:
    """Whether an empty message to `path`, with one more header, gets a message back.

    Args:
        address: Host and port, without TLS.
        path: Such as /inference.GRPCInferenceService/ServerLive.
        name: Name of the header, as it is.
        value: Its value.
    """
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        name: value,
    }
    block = b"".join(_literal(one) for one in headers.items())
    with socket.create_connection(address, 10) as connection, connection.makefile("rb") as frames:
        connection.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, block)
            + _frame(_DATA, _END_STREAM, 1, bytes(5))
        )
        while head := frames.read(_FRAME_HEAD):
            length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + head)
            frames.read(length)
            if stream == 1 and kind == _DATA and length:
                return True
            if kind == _GOAWAY or (stream == 1 and (kind not in (_DATA, _HEADERS) or flags & _END_STREAM)):
                return False
    return False


def _literal(header: tuple[str, str]) -> bytes:
    """A header field that is not indexed, with a new name (RFC 7541, 6.2.2), both below 127 bytes."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in header)


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">IBBI", len(content), kind, flags, stream)[1:] + content
