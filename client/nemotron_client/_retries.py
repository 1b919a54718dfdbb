"""Where and when a failed request is tried again: which server, after which errors, after how long. Does no I/O."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nemotron_client import _defaults
from nemotron_client._errors import (
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
)

_logger = logging.getLogger("nemotron_client")


def may_succeed_later(error: NemotronError) -> bool:
    """Whether the same request may succeed elsewhere or later."""
    if isinstance(error, RequestTimeoutError):
        return error.phase == "connect"
    return isinstance(error, (ModelNotReadyError, OverloadedError, ServerUnavailableError))


def may_be_at_work(error: NemotronError) -> bool:
    """Whether the server may still generate for a request that has ended like this for the client."""
    if isinstance(error, RequestTimeoutError):
        return error.phase != "connect"
    return isinstance(error, (ServerError, ServerUnavailableError))


def delay_s(retry: int, chance: Callable[[], float] = random.random) -> float:
    """How long to wait before a retry, counted from 0: doubling, and only ever shortened by chance.

    Args:
        retry: How many retries there were before.
        chance: Draws from 0 to 1.
    """
    # The exponent is bounded: a float holds no 2**1024.
    full = min(_defaults.RETRY_FIRST_DELAY_S * _defaults.RETRY_FACTOR ** min(retry, 100), _defaults.RETRY_MAX_DELAY_S)
    return full * (1 - _defaults.RETRY_JITTER * chance())


@dataclass
class _Health:
    """Of one server.

    Attributes:
        failures: In a row.
        back_at: Until then it is passed over.
        down_at: When the first of the failures came.
        told: The log has said that it takes no requests.
        tell_at: Before that the log says no such thing, of a server that fails now and then.
    """

    failures: int = 0
    back_at: float = 0.0
    down_at: float = 0.0
    told: bool = False
    tell_at: float = 0.0


class Replicas:
    """The health of some servers. Thread-safe.

    The log is told when a server takes no requests any more, and when it does again, not of each request.
    """

    def __init__(self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.urls = tuple(urls)
        self._clock = clock
        self._health = [_Health() for _ in urls]
        self._turn = 0
        self._lock = threading.Lock()

    def pick(self, tried: Collection[int] = ()) -> int:
        """The index of the server whose turn it is, of those that were not tried.

        One that failed lately is only taken when no other is left: a request fails after trying, never before.
        """
        with self._lock:
            count = len(self.urls)
            order = [(self._turn + step) % count for step in range(count)]
            left = [index for index in order if index not in tried]
            now = self._clock()
            healthy = [index for index in left if self._health[index].back_at <= now]
            chosen = healthy[0] if healthy else min(left, key=lambda index: self._health[index].back_at)
            self._turn = (chosen + 1) % count
            return chosen

    def failed(self, index: int, error: NemotronError) -> None:
        """This server cannot be used: pass it over for a while, longer with each failure in a row.

        Failures while it is passed over are those of requests that were on their way with the first.
        """
        with self._lock:
            health, now = self._health[index], self._clock()
            if now >= health.back_at:
                # The exponent is bounded: a float holds no 2**1024.
                pause = _defaults.REPLICA_FIRST_PAUSE_S * 2.0 ** min(health.failures, 100)
                health.back_at = now + min(pause, _defaults.REPLICA_MAX_PAUSE_S)
                health.down_at = health.down_at if health.failures else now
                health.failures += 1
            tell = not health.told and now >= health.tell_at
            if tell:
                health.told, health.tell_at = True, now + _defaults.REPLICA_LOG_S
        if tell:
            _logger.warning("%s takes no requests (%s): %s", self.urls[index], type(error).__name__, error)

    def worked(self, index: int) -> None:
        """This server has answered."""
        if not self._health[index].failures:
            return
        with self._lock:
            health = self._health[index]
            self._health[index] = _Health(tell_at=health.tell_at)
        if health.told:
            _logger.warning("%s takes requests again, after %.1f s", self.urls[index], self._clock() - health.down_at)


class Attempts:
    """The tries of one request: each server once without waiting, then all again after a delay, as often as allowed."""

    def __init__(
        self, replicas: Replicas, max_retries: int, delay: Callable[[int], float] = delay_s, request_id: str = ""
    ) -> None:
        self._replicas = replicas
        self._max_retries = max_retries
        self._delay = delay
        self._request_id = request_id
        self._retries = 0
        self._tried: dict[int, NemotronError] = {}
        self.replica = replicas.pick()

    def again_after(self, error: NemotronError, left_s: float) -> float:
        """Choose the server of the next try, in `replica`.

        Args:
            error: What the last try ended with.
            left_s: What is left of the total timeout.

        Returns:
            Seconds to wait before it.

        Raises:
            NemotronError: there is no next try; the error given, or one that names every server.
        """
        if not may_succeed_later(error):
            raise error
        self._tried[self.replica] = error
        if not isinstance(error, OverloadedError):
            self._replicas.failed(self.replica, error)
        if len(self._tried) < len(self._replicas.urls):
            self.replica = self._replicas.pick(self._tried)
            return 0.0
        delay = self._delay(self._retries)
        if self._retries >= self._max_retries or delay >= left_s:
            raise self._verdict(error)
        self._retries += 1
        _logger.debug(
            "request %s: retry %d of %d in %.2f s after %s",
            self._request_id,
            self._retries,
            self._max_retries,
            delay,
            type(error).__name__,
        )
        self._tried.clear()
        self.replica = self._replicas.pick()
        return delay

    def _verdict(self, last: NemotronError) -> NemotronError:
        kinds = {type(error) for error in self._tried.values()}
        if len(self._tried) == 1 or kinds in ({OverloadedError}, {ModelNotReadyError}):
            return last
        reasons = "; ".join(f"{self._replicas.urls[index]}: {error}" for index, error in self._tried.items())
        urls = ", ".join(self._replicas.urls)
        return ServerUnavailableError(f"None of the servers answers. {reasons}", request_id=last.request_id, url=urls)
