"""Runs what a request asks for, and sends what comes of it for as long as its caller is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Receive, Send

from nemotron_client import AsyncChatStream, AsyncClient, Event, NemotronError, Options, Reply, Usage
from nemotron_front.ask import Ask
from nemotron_front.errors import ApiError, from_client
from nemotron_front.tools import FirstCall

_logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def event_of(data: bytes) -> bytes:
    """A server-sent event."""
    return b"data: " + data + b"\n\n"


class Shape(Protocol):
    """How an API writes the answer to one request. Choices are counted from 0.

    Attributes:
        keep_alive: What is sent while there is nothing to say.
    """

    keep_alive: bytes

    def begin(self, choice: int) -> bytes:
        """What comes before the first event of a choice."""

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:
        """What an event becomes; `usage` has the counts so far."""

    def end(self, choice: int, reply: Reply) -> bytes:
        """What comes after the last event of a choice."""

    def done(self, replies: Sequence[Reply]) -> bytes:
        """What comes when all choices have ended."""

    def failed(self, error: ApiError) -> bytes:
        """What comes in place of the rest."""

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The answer that is not streamed."""


@dataclass(frozen=True)
class Api:
    """A way to ask for text.

    Attributes:
        path: Where.
        read: From a body without nulls, whose model is resolved, to what it asks for. Raises ApiError.
        shape: Writes the answer to a request, whose id is given.
        error_json: Writes what goes wrong before the answer begins.
    """

    path: str
    read: Callable[[dict[str, Any]], Ask]
    shape: Callable[[Ask, str], Shape]
    error_json: Callable[[ApiError], bytes] = ApiError.json


class Channel:
    """The way to the caller of one request.

    Attributes:
        started: Whether a status has been sent: from then on errors are events.
    """

    def __init__(self, receive: Receive, send: Send, request_id: str) -> None:
        self.started = False
        self._receive = receive
        self._send = send
        self._request_id = request_id

    async def gone(self) -> None:
        """Returns when the caller has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def write(self, data: bytes) -> None:
        """Send a part of a stream."""
        if not self.started:
            await self._start(200, _STREAM_HEADERS)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part of a stream."""
        if not self.started:
            await self._start(200, _STREAM_HEADERS)
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, data: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        """Send all there is, as JSON."""
        await self._start(status, {"content-type": "application/json", "content-length": str(len(data)), **headers})
        await self._send({"type": "http.response.body", "body": data})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        named.append((b"x-request-id", self._request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": named})


async def answer(client: AsyncClient, ask: Ask, shape: Shape, channel: Channel, request_id: str) -> None:
    """Answer a request.

    Raises:
        ApiError: it was refused, or has failed before anything was sent.
    """
    streams = [_stream(client, ask, choice, request_id) for choice in range(ask.choices)]
    watch = asyncio.create_task(_close_when_gone(channel, streams))
    try:
        if ask.stream:
            replies = await asyncio.gather(
                *(_forward(stream, choice, shape, channel) for choice, stream in enumerate(streams))
            )
            await channel.finish(shape.done(replies))
        else:
            replies = await asyncio.gather(*(stream.get_final() for stream in streams))
            await channel.whole(shape.whole(replies))
    except NemotronError as error:
        told = from_client(error).renamed(ask.names)
        if not channel.started:
            raise told from error
        await channel.finish(shape.failed(told))
    finally:
        watch.cancel()
        for stream in streams:
            await stream.close()


async def _forward(stream: AsyncChatStream | FirstCall, choice: int, shape: Shape, channel: Channel) -> Reply:
    begin = shape.begin(choice)
    async for event in stream:
        await channel.write(begin + shape.event(choice, event, stream.usage_so_far))
        begin = b""
    reply = await stream.get_final()
    await channel.write(begin + shape.end(choice, reply))
    return reply


def _stream(client: AsyncClient, ask: Ask, choice: int, request_id: str) -> AsyncChatStream | FirstCall:
    one = request_id if ask.choices == 1 else f"{request_id}-{choice}"
    options: Options = {**ask.options_of(choice), "request_id": one}
    if ask.prompts:
        return client.stream_generate(ask.prompts[choice // ask.n], **options)
    stream = client.stream_chat(ask.messages or [], **options)
    return FirstCall(stream) if ask.first_call_only else stream


async def _close_when_gone(channel: Channel, streams: Sequence[AsyncChatStream | FirstCall]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await channel.gone()
        for stream in streams:
            await stream.close()
