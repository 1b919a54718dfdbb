"""A session by hand whose frames are read and acknowledged as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from tests.balancer.envoy import Balancer
from tests.robustness.sessions import SessionCaller

ENDLESS = 5_000  # tokens: 100 s at 20 ms each


class ReadSession:
    """What became of the requests of a session.

    Attributes:
        caller: To ask and to stop with.
        began: When each request had its first output, in seconds of the monotonic clock, by its id.
        ended: The finish reason of each that has ended, or its error, by its id.
        draining: Whether the server has said that it takes nothing new.
        over: Why nothing more comes; "" while something may.
    """

    def __init__(self, caller: SessionCaller) -> None:
        self.caller = caller
        self.began: dict[str, float] = {}
        self.ended: dict[str, str] = {}
        self.draining = False
        self.over = ""
        self._thread = threading.Thread(target=self._read)
        caller.open()
        self._thread.start()

    def has_begun(self, count: int) -> bool:
        """Whether so many requests have had output."""
        return len(self.began) >= count

    def close(self) -> None:
        """Leave."""
        self.caller.close()
        self._thread.join()

    def _read(self) -> None:
        try:
            for answer in self.caller.answers():
                if answer.error:
                    self.ended[answer.id] = answer.error
                if answer.frame is not None:
                    self._take(answer.frame)
            self.over = "ended by the server"
        except grpc.RpcError as error:
            self.over = f"{error.code().name}: {error.details()}"

    def _take(self, frame: dict[str, Any]) -> None:
        self.caller.acknowledge(frame["frame"])
        self.draining |= bool(frame.get("draining"))
        for one in frame.get("responses", ()):
            self.began.setdefault(one["id"], time.monotonic())
            if end := one.get("error") or one.get("finish_reason"):
                self.ended[one["id"]] = end


@contextmanager
def sessions(balancer: Balancer, count: int) -> Iterator[list[ReadSession]]:
    """So many, opened one after another, each on a connection of its own, until the block ends."""
    opened: list[ReadSession] = []
    try:
        for _ in range(count):
            opened.append(ReadSession(SessionCaller(balancer.address)))
        yield opened
    finally:
        for session in opened:
            session.close()
