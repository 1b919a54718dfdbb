"""An answer that is being written, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any

from nemotron_client import _defaults
from nemotron_client._errors import NemotronError
from nemotron_client._exchange import CLOSED, ExchangeState, Living
from nemotron_client._request import ends_thinking
from nemotron_client._retries import Replicas
from nemotron_client._settings import Settings
from nemotron_client._transports import AsyncResponseStream, AsyncTransport, Call
from nemotron_client._types import Event, Reply, Usage


class AsyncShared(Living):
    """What a client and its copies have in common.

    Attributes:
        transports: One for each replica.
        running: Requests that have not ended, by their id.
    """

    def __init__(self, transports: Sequence[AsyncTransport], replicas: Replicas) -> None:
        self.transports = transports
        self.running: dict[str, AsyncExchange] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(replicas)

    def check(self, request_id: str = "") -> None:
        """See `Living`.

        Raises:
            RuntimeError: the client was used in another event loop before.
        """
        super().check(request_id)
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RuntimeError(
                "This AsyncClient has its connections in another event loop, expected one client for each loop: make "
                "it within the function that asyncio.run runs"
            )
        self._loop = loop

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this to its end, or until the client is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the requests that run, let their cancels be sent, and close the connections."""
        if self.ended:
            return
        self.ended = CLOSED
        for exchange in list(self.running.values()):
            exchange.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_defaults.CLOSE_TIMEOUT_S)
        for transport in self.transports:
            await transport.close()


class AsyncChatStream:
    """An answer that is being written: iterate over its events, then read `await get_final()`.

    The request is sent when the `async with` block is entered, or by the first read. Leaving the block early,
    `close`, a cancelled read, or forgetting the stream cancels the answer on the server.

    Attributes:
        request_id: The request, as the server's log knows it.
    """

    def __init__(self, exchange: AsyncExchange) -> None:
        self.request_id = exchange.request_id
        self._exchange = exchange
        self._events: deque[Event] = deque()

    @property
    def usage_so_far(self) -> Usage | None:
        """The token counts of what has come; None before the first response."""
        return self._exchange.state.usage

    @property
    def thinking_budget_reached(self) -> bool:
        """Whether the thinking was ended, by `max_thinking_tokens` or `end_thinking`, as far as is known yet."""
        return self._exchange.state.thinking_budget_reached

    @property
    def package(self) -> str:
        """The package that answers; empty before the first response, and where the server does not say."""
        return self._exchange.state.package

    @property
    def arrivals(self) -> tuple[tuple[float, int], ...]:
        """When each response with new tokens came, in seconds of `time.perf_counter`, and the output tokens so far."""
        return self._exchange.state.arrivals

    def __aiter__(self) -> AsyncChatStream:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            self._events.extend(await self._exchange.next_events())
        return self._events.popleft()

    async def get_final(self) -> Reply:
        """Read to the end and return the whole answer.

        Raises:
            NemotronError: the answer did not come to its end; StreamClosedError if that is because of `close`.
        """
        self._events.clear()
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self._exchange.next_events()
        return self._exchange.state.final()

    async def end_thinking(self) -> bool:
        """Have the model answer now. See `ChatStream.end_thinking`; another task may read at the same time."""
        return await self._exchange.end_thinking()

    async def close(self) -> None:
        """Stop reading, at once. An answer that has not ended is cancelled on the server."""
        self._exchange.close()

    async def __aenter__(self) -> AsyncChatStream:
        await self._exchange.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        self._exchange.forget()


class AsyncExchange:
    """Sends a request and reads its responses. Knows nothing of its stream, whose end therefore is noticed."""

    def __init__(self, shared: AsyncShared, settings: Settings, call: Call, response_format: Any) -> None:
        self.request_id = call.request_id
        self.state = ExchangeState(shared.replicas, settings, call, response_format)
        self._shared = shared
        self._settings = settings
        self._responses: AsyncResponseStream | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._wake = asyncio.Event()  # ends the wait before a retry
        self._responded = False  # a response has come: from now on the next one is waited for
        self._ended = False

    @property
    def transport(self) -> AsyncTransport:
        """The connection to the server that has the request."""
        return self._shared.transports[self.state.replica]

    async def start(self) -> None:
        """Send the request, unless it was sent."""
        if self._loop is not None or self._ended:
            return
        try:
            self._shared.check(self.request_id)
        except NemotronError:
            self._ended = True
            raise
        self._loop = asyncio.get_running_loop()
        self._shared.running[self.request_id] = self
        self.state.begin()
        try:
            await self._send()
        except BaseException:
            self.close()
            raise

    async def next_events(self) -> list[Event]:
        """The events of the next response, perhaps none.

        Raises:
            StopAsyncIteration: the reply is whole, or reading has ended before.
            NemotronError: the request failed.
        """
        if self._responses is None:
            await self.start()
        state = self.state
        if self._ended:
            if not state.over:
                state.error = state.reason()
                raise state.error
            raise StopAsyncIteration
        try:
            while True:
                try:
                    values = await self._next()
                except NemotronError as error:
                    if state.reply is not None:  # it failed behind its last response
                        break
                    await self._try_again(error)
                else:
                    if values is None:
                        break
                    return state.events_of(values)
        except NemotronError as error:
            state.error = error
            self.close()
            raise
        except BaseException:  # the task was cancelled
            self.close()
            raise
        self.close()
        raise StopAsyncIteration

    async def end_thinking(self) -> bool:
        """See `ChatStream.end_thinking`."""
        if self._ended or self.state.over or self._responses is None:
            return False
        return ends_thinking(await self.transport.ask(self.state.end_thinking_call(), _defaults.CANCEL_TIMEOUT_S))

    def close(self) -> None:
        """End the request, at once."""
        if self._ended:
            return
        self._ended = True
        if not self.state.over and self._loop is not None:
            self.state.closed = True
            self._give_up()
        if self._timer is not None:
            self._timer.cancel()
        self._shared.running.pop(self.request_id, None)
        self.state.log_end()

    def forget(self) -> None:
        """`close` for a finalizer, which may run in any thread."""
        if not self._ended and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    async def _next(self) -> dict[str, Any] | None:
        """The next response; None after the last."""
        state = self.state
        assert self._responses is not None  # noqa: S101 - start was awaited
        if self._responded:
            state.deadline.waiting(time.perf_counter())
            self._watch()
        try:
            values = await self._responses.__anext__()
        except StopAsyncIteration:
            if state.reply is None:
                raise state.ended_early() from None
            return None
        self._responded = True
        return values

    async def _send(self) -> None:
        state = self.state
        call = state.prepare(await self._settings.awaited_headers())
        try:
            self._responses = self.transport.open(call)
        except Exception:
            self._shared.check(call.request_id)  # the client may have been closed while headers were made
            raise
        self._responded = False
        state.deadline.sent(time.perf_counter())
        self._watch()
        if state.given_up:  # in the meantime, when `_give_up` could not see these responses yet
            self._responses.abort()

    async def _try_again(self, error: NemotronError) -> None:
        sequel = self.state.after(error)
        if sequel.also_stop is not None:
            self._cancel(sequel.also_stop)
        if sequel.error is not None:
            raise sequel.error
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), sequel.delay_s)
        if self._wake.is_set():
            raise self.state.reason()
        await self._send()

    def _watch(self) -> None:
        """Look at the deadline when it is reached, for it moves with each response."""
        at = self.state.deadline.at
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - time.perf_counter()), self._look)

    def _look(self) -> None:
        self._timer_at = math.inf
        if self.state.deadline.expire(time.perf_counter()):
            self._give_up()
        else:
            self._watch()

    def _give_up(self) -> None:
        self._wake.set()
        if self._responses is not None:
            self._responses.abort()
            self._cancel(self.state.replica)

    def _cancel(self, replica: int) -> None:
        post = self._shared.transports[replica].post(self.state.cancel_call(), _defaults.CANCEL_TIMEOUT_S)
        self._shared.in_background(post)
