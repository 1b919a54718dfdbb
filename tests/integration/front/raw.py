"""Callers of a front over sockets of their own: they see every byte, send what they like, and leave when they like."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"
_LINGER_0 = struct.pack("ii", 1, 0)  # closes with a reset instead of a farewell


def question(text: str, **more: Any) -> dict[str, Any]:
    """The body of a chat with one message."""
    return {"messages": [{"role": "user", "content": text}], **more}


class RawCaller:
    """One request on one connection, which ends with the answer.

    Attributes:
        received: What has come, heads and chunk sizes and all.
    """

    def __init__(
        self,
        url: str,
        body: Mapping[str, Any] | bytes = b"",
        path: str = CHAT,
        *,
        method: str = "POST",
        headers: Mapping[str, str] = {},
        receive_buffer: int = 0,
    ) -> None:
        """Connect and ask.

        Args:
            url: The front.
            body: JSON, or bytes as they are.
            path: What is asked.
            method: How.
            headers: Further headers; one without a value takes the place of Content-Length.
            receive_buffer: Bytes that the system holds for a caller that does not read; 0 lets it choose.
        """
        address = urlsplit(url)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Host": address.netloc, "Connection": "close", "Content-Length": str(len(data)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
        self.received = b""
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(60)
        self._socket.connect((address.hostname, address.port))
        self._socket.sendall("\r\n".join(lines).encode() + data)

    def read_until(self, part: bytes) -> bytes:
        """Read until this has come; fails where the connection ends before."""
        while part not in self.received:
            data = self._socket.recv(65536)
            assert data, self.received
            self.received += data
        return self.received

    def read_all(self) -> bytes:
        """Read until the connection ends."""
        while data := self._socket.recv(65536):
            self.received += data
        return self.received

    def send(self, data: bytes) -> None:
        """Send more."""
        self._socket.sendall(data)

    @property
    def status(self) -> int:
        """Of the response."""
        return int(self.received.split(b" ", 2)[1])

    @property
    def data(self) -> list[str]:
        """The data of the events that have come."""
        lines = self.received.decode().replace("\r\n", "\n").split("\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def reset(self) -> None:
        """Leave without a farewell."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._socket.close()

    def shut(self) -> None:
        """Say that nothing more is sent, and stay."""
        self._socket.shutdown(socket.SHUT_WR)

    def __enter__(self) -> RawCaller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
