"""Whether a client may still be used, and what becomes of it when its process ends or forks."""

from __future__ import annotations

import atexit
import os
import weakref

from nemotron_client._errors import StreamClosedError
from nemotron_client._replicas import Replicas

CLOSED = "The client is closed, expected one that is open"
FORKED = "The client was made before a fork, expected one that this process has made itself"


class Living:
    """The life of a client and its copies.

    Attributes:
        replicas: Its servers.
        ended: Why no further request is sent; empty as long as they are.
    """

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.ended = ""
        _living.add(self)

    def check(self, request_id: str = "") -> None:
        """Go on only while the client lives.

        Raises:
            StreamClosedError: it has ended.
        """
        if self.ended:
            raise StreamClosedError(self.ended, request_id=request_id, url=", ".join(self.replicas.urls))

    def at_exit(self) -> None:
        """The process ends, and the client was not closed."""

    def disown(self) -> None:
        """This process is a fork of the client's: the connections, and what runs on them, are the other's."""
        self.ended = FORKED


_living: weakref.WeakSet[Living] = weakref.WeakSet()


def _end_all() -> None:
    for one in list(_living):
        one.at_exit()


def _disown_all() -> None:
    for one in list(_living):
        one.disown()
    _living.clear()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_disown_all)
