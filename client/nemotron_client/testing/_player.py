"""Plays a reply to whoever reads it: waits, and ends early when the request is stopped or its reader leaves."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading

from nemotron_client.testing._performance import Faulted, Performance, Step, Values
from nemotron_client.testing._replies import ScriptedReply
from nemotron_client.testing._requests import RecordedRequest
from nemotron_client.testing._script import Scripted


class LeftError(Exception):
    """Nobody waits for the reply any more."""


class _Playing:
    """One request and its reply. `wake` ends the wait for the next step."""

    def __init__(
        self, script: Scripted, request: RecordedRequest, reply: ScriptedReply, wake: threading.Event | asyncio.Event
    ) -> None:
        self._script = script
        self._request = request
        self._performance = Performance(reply, request)
        self._steps = self._performance.steps()
        self._woken = wake
        self._left = False
        self._over = False
        script._begin(request, wake.set)

    def leave(self) -> None:
        """The reader has gone."""
        self._left = True
        self._script._end(self._request)
        self._woken.set()

    def _next(self) -> Step | None:
        """What comes next; None after the end."""
        return None if self._over else next(self._steps, None)

    def _come(self, step: Step) -> Values:
        """The response that is due now: the step's, or the last one if the request was stopped.

        Raises:
            Faulted: the step brings a fault.
            LeftError: `leave` was called.
        """
        try:
            values = self._cut_short() if self._woken.is_set() else self._played(step)
        except BaseException:
            self._end()
            raise
        if values["finish_reason"]:
            self._request.outcome = self._request.outcome or "answered"
            self._end()
        return values

    def _cut_short(self) -> Values:
        if self._left:
            raise LeftError
        return self._performance.cancelled()

    def _played(self, step: Step) -> Values:
        if step.fault is not None:
            # Behind any other fault the server may still be at work: a client sends a stop.
            if step.fault.kind == "error":
                self._request.outcome = self._request.outcome or "failed"
            raise Faulted(step.fault)
        assert step.values is not None  # noqa: S101 - what is no fault is a response
        return step.values

    def _end(self) -> None:
        self._over = True
        self._script._end(self._request)


class Player(_Playing):
    """The responses, each when it is due, for threads: one reads, any other may call `leave`.

    Reading raises what `_come` raises.
    """

    def __init__(self, script: Scripted, request: RecordedRequest, reply: ScriptedReply) -> None:
        self._wake = threading.Event()
        super().__init__(script, request, reply, self._wake)

    def __iter__(self) -> Player:
        return self

    def __next__(self) -> Values:
        step = self._next()
        if step is None:
            raise StopIteration
        self._wake.wait(None if step.delay_s == math.inf else step.delay_s)
        return self._come(step)


class AsyncPlayer(_Playing):
    """`Player` for asyncio."""

    def __init__(self, script: Scripted, request: RecordedRequest, reply: ScriptedReply) -> None:
        self._wake = asyncio.Event()
        super().__init__(script, request, reply, self._wake)

    def __aiter__(self) -> AsyncPlayer:
        return self

    async def __anext__(self) -> Values:
        step = self._next()
        if step is None:
            raise StopAsyncIteration
        if step.delay_s == 0:
            await asyncio.sleep(0)  # a reply without delays must not keep the loop to itself
        else:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), None if step.delay_s == math.inf else step.delay_s)
        return self._come(step)
