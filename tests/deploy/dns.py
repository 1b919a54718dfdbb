"""A name with several addresses, as a headless Service has: a DNS server that knows one answer."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

_A, _IN = 1, 1
_ANSWER = 0x8580  # an authoritative answer
_TTL_S = 1


@dataclass
class Dns:
    """It, running.

    Attributes:
        port: UDP, on 127.0.0.1.
        addresses: Of every name.
        asked: Names that were asked for.
    """

    port: int
    addresses: list[str]
    asked: set[str] = field(default_factory=set)


@contextlib.contextmanager
def answering(addresses: list[str]) -> Iterator[Dns]:
    """Answer until the block ends."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.05)
        dns, over = Dns(server.getsockname()[1], addresses), threading.Event()

        def run() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    query, caller = server.recvfrom(512)
                    server.sendto(_answer(query, dns), caller)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield dns
        finally:
            over.set()
            thread.join()


def _answer(query: bytes, dns: Dns) -> bytes:
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode())
        at += 1 + size
    question = query[12 : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    dns.asked.add(".".join(labels))
    found = dns.addresses if kind == _A else []
    head = query[:2] + struct.pack("!HHHHH", _ANSWER, 1, len(found), 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, _A, _IN, _TTL_S, 4)
    return head + question + b"".join(record + socket.inet_aton(address) for address in found)
