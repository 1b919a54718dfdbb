"""A connection of which both ends believe that it is there, and on which nothing comes through any more."""

from __future__ import annotations

import functools
import selectors
import socket
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit


class FrozenLink:
    """Passes TCP on to a server, until it is frozen: then nothing is read, sent or closed.

    Args:
        url: Where to; only the host and the port matter.

    Attributes:
        address: Where to connect instead.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._selector.register(self._listener, selectors.EVENT_READ, self._connect)
        self.address = "{}:{}".format(*self._listener.getsockname())
        self._frozen = False
        self._thread = threading.Thread(target=self._pass_on)
        self._thread.start()

    def freeze(self) -> None:
        """Let nothing through any more, in either direction."""
        self._frozen = True
        self._thread.join()

    def close(self) -> None:
        """Close both ends."""
        self.freeze()
        self._stack.close()

    def _pass_on(self) -> None:
        while not self._frozen:
            for key, _ in self._selector.select(0.05):
                key.data()

    def _connect(self) -> None:
        ends = [self._listener.accept()[0], socket.create_connection(self._server)]
        for end, other in (ends, reversed(ends)):
            self._stack.enter_context(end)
            self._selector.register(end, selectors.EVENT_READ, functools.partial(self._pass, end, other))

    def _pass(self, end: socket.socket, other: socket.socket) -> None:
        if data := end.recv(1 << 16):
            other.sendall(data)
        else:
            self._selector.unregister(end)
