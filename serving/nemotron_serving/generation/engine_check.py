"""Something to do for an engine that has nothing to do, so that it is seen whether it still works."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nemotron_serving.engine import Delta, Engine, EngineRequest, Sampling
from nemotron_serving.errors import EngineError

_RESTS = 20  # times as long as it has worked: a slow one is not kept busy
_LONGEST_REST_S = 5.0  # or its first token, on a machine that is busy, would let a hang go unseen for a minute


class EngineCheck:
    """Has the engine generate one token that nobody waits for. Whether it does is seen by its steps.

    Args:
        engine: The engine.
        clock: Gives seconds.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._going_on = False
        self._began = self._ended = -float("inf")

    def begin(self, request_id: int, prompt_ids: Sequence[int], stop_token_ids: Sequence[int]) -> None:
        """Submit the request, unless the last one has not ended, or not for long enough."""
        now = self._clock()
        rest = min(_RESTS * (self._ended - self._began), _LONGEST_REST_S)
        if self._going_on or now - self._ended < rest:
            return
        self._began, self._going_on = now, True
        stop = frozenset(stop_token_ids)
        try:
            self._engine.submit(EngineRequest(request_id, list(prompt_ids), 1, Sampling(), stop), self._take)
        except EngineError:  # it fails its requests, hence does not hang
            self._end()

    def _take(self, delta: Delta) -> None:
        if delta.finish_reason is not None or delta.error is not None:
            self._end()

    def _end(self) -> None:
        self._ended, self._going_on = self._clock(), False
