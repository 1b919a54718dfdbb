"""Sessions for asyncio: one task reads for all requests, and another one sends while there is something to send."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2

from nemotron_client._errors import NemotronError
from nemotron_client._transports import grpc_codec as codec
from nemotron_client._transports.base import AsyncResponseStream, Call
from nemotron_client._transports.session_codec import Session, Terms
from nemotron_client._transports.session_request import Command, Item, Note, SessionRequest, Turn

# gRPC's own task for a stream ends a moment after the stream was cancelled, and where the loop is closed before that,
# gRPC logs an error in the next one.
_ENDING_S = 0.01


class AsyncSession(Session):
    """A session on a channel of its own, which ends with it. See `Session`."""

    def __init__(self, connect: Callable[[], Any], metadata: Any, terms: Terms) -> None:
        """Prepare.

        Args:
            connect: Makes its channel.
            metadata: Its headers, in gRPC's words.
            terms: See `Session`.
        """
        super().__init__(terms)
        self._connect = connect
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[Command] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ending = False

    def start(self) -> None:
        """See `Session.start`."""
        self._channel = self._connect()
        stream = self._channel.stream_stream(
            codec.STREAM,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        )
        self._rpc = stream(metadata=self._metadata, compression=codec.compression(self.terms.compression))
        self._late = self._loop.call_later(self.terms.patience_s, self._is_late)
        self._reading = self._loop.create_task(self._run())

    def send(self, command: Command) -> None:
        """See `Session.send`."""
        if command is Note.END:
            self._cancel()
            return
        self._outbox.append(command)
        if self.key and self._sending is None:
            self._sending = self._loop.create_task(self._send_all())

    def began(self) -> None:
        """See `Session.began`."""
        self._late.cancel()
        if self._outbox:
            self._sending = self._loop.create_task(self._send_all())

    async def close(self) -> None:
        """End it, and wait until nothing of it is left."""
        self._cancel()
        if self._reading is not None:
            await asyncio.wait([self._reading])
            await asyncio.sleep(_ENDING_S)
        else:
            self.ended()

    def abandon(self) -> None:
        """See `Session.abandon`."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._reading is not None and not self._ending:
            self._ending = True
            self._reading.cancel()  # not the stream alone, for gRPC's `write` may wait on for a connection

    async def _run(self) -> None:
        try:
            await self._rpc.write(self.opening())
            while not self.over:
                response = await self._rpc.read()
                if response is grpc.aio.EOF:
                    self.ended()
                else:
                    self.take(response)
        except grpc.RpcError as error:
            self.lost(error)
        except asyncio.CancelledError:
            self.ended()
            raise
        finally:
            self._ending = True
            self._late.cancel()
            self._rpc.cancel()
            if self._sending is not None:
                await asyncio.wait([self._sending])
            await self._channel.close()

    async def _send_all(self) -> None:
        try:
            while self._outbox:
                message = self.message_for(self._outbox.popleft())
                if message is not None:
                    await self._rpc.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            if task_is_cancelled():
                raise
            # The session is lost, as whoever reads hears too.
        finally:
            self._sending = None

    def _is_late(self) -> None:
        self.end(None)
        self._cancel()


class AsyncSessionStream(SessionRequest):
    """The responses to a request that rides. See `AsyncResponseStream`."""

    session: AsyncSession

    def __init__(self, call: Call, open_elsewhere: Callable[[Call], AsyncResponseStream]) -> None:
        """Prepare.

        Args:
            call: The request.
            open_elsewhere: Sends it the ensemble way, where the server turns out to have no sessions.
        """
        super().__init__(call)
        self._open_elsewhere = open_elsewhere
        self._elsewhere: AsyncResponseStream | None = None
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """See `SessionRequest.put`."""
        if item is Turn.ENSEMBLE:
            try:
                self._elsewhere = self._open_elsewhere(self.call)
            except grpc.aio.UsageError:  # the channel is closed
                item = self.given_up()
        self._items.append(item)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __aiter__(self) -> AsyncSessionStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._elsewhere is not None:
            return await self._elsewhere.__anext__()
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if isinstance(item, dict):
            return self.values_of(item)
        if self._elsewhere is not None:
            return await self._elsewhere.__anext__()
        self._items.append(item)
        if isinstance(item, NemotronError):
            raise item
        raise StopAsyncIteration

    def abort(self) -> None:
        """See `AsyncResponseStream.abort`."""
        if self.left:
            return
        self.left = True
        if self._elsewhere is not None:
            self._elsewhere.abort()
            return
        self._items.clear()
        self.put(self.given_up())
        self.session.leave(self)


def task_is_cancelled() -> bool:
    """Whether this task is to end, and not only a call of gRPC."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
