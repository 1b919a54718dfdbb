"""Runs what a request asks for, and sends what comes of it for as long as its caller is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nemotron_client import AsyncChatStream, Event, NemotronError, Options, Reply, Usage
from nemotron_front.ask import Ask
from nemotron_front.body import CallerLeft
from nemotron_front.errors import ApiError, from_client, late, unexpected
from nemotron_front.exchange import Exchange
from nemotron_front.reading import Fields
from nemotron_front.tools import FirstCall

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event_of(data: bytes, name: str = "") -> bytes:
    """A server-sent event, with a name where one is given."""
    named = b"event: %b\n" % name.encode() if name else b""
    return b"%bdata: %b\n\n" % (named, data)


class Shape(Protocol):
    """How an API writes the answer to one request: streamed, or whole. Choices are counted from 0.

    Attributes:
        keep_alive: What is sent while there is nothing to say.
    """

    keep_alive: bytes

    def begin(self, choice: int, usage: Usage | None, package: str) -> bytes:
        """What comes before the first event of a choice; `usage` has the counts so far, `package` what answers."""

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:
        """What an event becomes, perhaps nothing; `usage` has the counts so far."""

    def end(self, choice: int, reply: Reply) -> bytes:
        """What comes after the last event of a choice."""

    def done(self, replies: Sequence[Reply]) -> bytes:
        """What comes when all choices have ended."""

    def failed(self, error: ApiError) -> bytes:
        """What comes in place of the rest."""

    def whole(self, replies: Sequence[Reply], events: Sequence[Sequence[Event]]) -> bytes:
        """The answer that is not streamed; a reply has no order of text and calls, the events of its choice have."""


@dataclass(frozen=True)
class Api:
    """A way to ask for text.

    Attributes:
        path: Where.
        read: From a body without nulls, whose model is resolved, to what it asks for. Raises ApiError.
        shape: Writes the answer to a request, whose id is given.
        fields: What a body may have.
        error_json: Writes what goes wrong before the answer begins, also under paths below this one.
    """

    path: str
    read: Callable[[dict[str, Any]], Ask]
    shape: Callable[[Ask, str], Shape]
    fields: Fields
    error_json: Callable[[ApiError], bytes] = ApiError.json


def request_ids(one: str, choices: int) -> list[str]:
    """The names for the servers of the choices of an exchange, whose name is given."""
    return [one] if choices < 2 else [f"{one}-{choice}" for choice in range(choices)]


async def answer(exchange: Exchange, ask: Ask, shape: Shape) -> None:
    """Answer a request.

    Raises:
        ApiError: it was refused, or has failed before anything was sent.
        CallerLeft: nobody waits for the answer any more. It was stopped.
    """
    exchange.mode = "stream" if ask.stream else "whole"
    exchange.n = ask.n
    exchange.streams = [_stream(exchange, ask, choice) for choice in range(ask.choices)]
    answering = _Answering(exchange, shape)
    try:
        if ask.stream:
            await answering.each(answering.forward)
            await exchange.finish(shape.done(exchange.replies))
        else:
            await answering.each(answering.collect)
            await exchange.whole(shape.whole(exchange.replies, answering.events))
    except Exception as error:
        if exchange.caller_left:
            raise CallerLeft from None
        exchange.error = exchange.error or _told(error, ask.names_of(answering.failed or 0), exchange)
        if not exchange.started:
            raise exchange.error from error
        await exchange.finish(shape.failed(exchange.error))
    finally:
        answering.over()
        await exchange.close()


class _Answering:
    """An answer that is on its way: its choices, its caller, and the time since something was sent.

    Nothing is sent before each choice has its first event, or for the keep-alive interval: what the server refuses
    until then has a status of its own.

    Attributes:
        events: Of each choice that is collected.
        failed: The choice that failed first.
    """

    def __init__(self, exchange: Exchange, shape: Shape) -> None:
        self.events: list[list[Event]] = [[] for _ in exchange.streams]
        self.failed: int | None = None
        self._exchange = exchange
        self._shape = shape
        self._interval_s = exchange.front.options.keep_alive_seconds
        self._loop = asyncio.get_running_loop()
        self._silent = len(exchange.streams)  # so many choices have no event yet
        self._open = asyncio.Event()
        self._tasks = {self._loop.create_task(self._watch())}
        exchange.wrote_at = self._loop.time()
        self._timer = self._loop.call_later(self._interval_s, self._tick)

    def over(self) -> None:
        """Nothing of it is to be sent any more."""
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    async def each(self, work: Callable[[int, AsyncChatStream | FirstCall], Coroutine[Any, Any, Reply]]) -> None:
        """Do this with all choices at once. The first one that fails ends the others, and is what is raised."""
        streams = self._exchange.streams
        if len(streams) == 1:
            self._exchange.replies = [await work(0, streams[0])]
            return

        async def one(choice: int, stream: AsyncChatStream | FirstCall) -> Reply:
            try:
                return await work(choice, stream)
            except Exception:
                self.failed = choice if self.failed is None else self.failed
                raise

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(choice, stream)) for choice, stream in enumerate(streams)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self._exchange.replies = [task.result() for task in tasks]

    async def forward(self, choice: int, stream: AsyncChatStream | FirstCall) -> Reply:
        """Send a choice while it is written."""
        exchange, shape = self._exchange, self._shape
        begun = False
        async for event in stream:
            begin = b"" if begun else await self._begin(choice, stream.usage_so_far, stream.package)
            begun = True
            if data := begin + shape.event(choice, event, stream.usage_so_far):
                await exchange.write(data)
        reply = await self._final(stream)
        begin = b"" if begun else await self._begin(choice, reply.usage, reply.package)
        await exchange.write(begin + shape.end(choice, reply))
        return reply

    async def collect(self, choice: int, stream: AsyncChatStream | FirstCall) -> Reply:
        """Wait for the whole of a choice."""
        async for event in stream:
            self.events[choice].append(event)
        return await self._final(stream)

    async def _final(self, stream: AsyncChatStream | FirstCall) -> Reply:
        reply = await stream.get_final()
        if reply.finish_reason == "timeout" and not reply.usage.output_tokens and not self._exchange.started:
            raise late()
        return reply

    async def _begin(self, choice: int, usage: Usage | None, package: str) -> bytes:
        """What a choice begins with, as soon as each of them has something to say."""
        self._silent -= 1
        if not self._silent:
            self._open.set()
        await self._open.wait()
        return self._shape.begin(choice, usage, package)

    async def _watch(self) -> None:
        await self._exchange.left()
        self._exchange.caller_left = True
        await self._exchange.close()

    def _tick(self) -> None:
        now = self._loop.time()
        due = self._exchange.wrote_at + self._interval_s
        if now >= due:
            due = now + self._interval_s
            if self._exchange.mode == "stream" and not self._exchange.is_writing:
                self._open.set()
                self._tasks.add(self._loop.create_task(self._exchange.write(self._shape.keep_alive)))
        self._timer = self._loop.call_at(due, self._tick)


def _told(error: Exception, names: Mapping[str, str], exchange: Exchange) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, NemotronError):
        return from_client(error, exchange.id).renamed(names)
    return unexpected(error, exchange.id)


def _stream(exchange: Exchange, ask: Ask, choice: int) -> AsyncChatStream | FirstCall:
    options: Options = {**ask.options_of(choice), "request_id": request_ids(exchange.id, ask.choices)[choice]}
    options["timeout_ms"] = min(options.get("timeout_ms") or exchange.patience_ms, exchange.patience_ms)
    if ask.prompts:
        return exchange.client.stream_generate(ask.prompts[choice // ask.n], **options)
    stream = exchange.client.stream_chat(ask.messages or [], **options)
    return FirstCall(stream) if ask.first_call_only else stream
