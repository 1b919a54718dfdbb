"""Answers many conversations, several at a time, each failure by itself."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, Unpack

from nemotron_client._contract import Options
from nemotron_client._request import chat_call
from nemotron_client._streams import ChatStream
from nemotron_client._types import Message, Reply

_AHEAD = 4  # conversations taken and not yet handed back, as a multiple of those that run


@dataclass(frozen=True)
class BatchItem:
    """A conversation of a batch with options of its own.

    Attributes:
        messages: The conversation, as `Client.chat` takes it.
        options: They go before those of the whole batch.
    """

    messages: Iterable[Message]
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class BatchResult:
    """What came of one conversation.

    Attributes:
        index: Its place among the conversations, from 0.
        reply: The answer, or None.
        error: Why there is none: a NemotronError, or TypeError or ValueError for a conversation or option that
            cannot be sent.
    """

    index: int
    reply: Reply | None = None
    error: Exception | None = None


Conversation = Iterable[Message] | BatchItem
"""Messages, or messages with options of their own."""
_Job = tuple[contextvars.Context, int, Conversation]


class _Streaming(Protocol):
    """What a batch needs of a `Client`."""

    def stream_chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> ChatStream: ...


class _Chatting(Protocol):
    """What a batch needs of an `AsyncClient`."""

    async def chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> Reply: ...


def batch(
    client: _Streaming, conversations: Iterable[Conversation], concurrency: int, in_order: bool, options: Options
) -> Generator[BatchResult, None, None]:
    """See `Client.batch`."""
    _check(concurrency, options)
    return _run(_Workers(client, concurrency, options), enumerate(conversations), in_order)


def batch_async(
    client: _Chatting,
    conversations: Iterable[Conversation] | AsyncIterable[Conversation],
    concurrency: int,
    in_order: bool,
    options: Options,
) -> AsyncGenerator[BatchResult, None]:
    """See `AsyncClient.batch`."""
    _check(concurrency, options)
    return _run_async(_Tasks(client, concurrency, options), conversations, in_order)


def _check(concurrency: int, options: Options) -> None:
    """Raise at once what would fail for each conversation."""
    if concurrency < 1:
        raise ValueError(f"concurrency: {concurrency} was given, expected at least 1")
    if options.get("request_id") is not None:
        raise ValueError("request_id: given for a whole batch, expected one for each BatchItem")
    chat_call([], options)


class _Order:
    """Hands results on, in order or as they come."""

    def __init__(self, in_order: bool) -> None:
        self.handed_on = 0
        self._in_order = in_order
        self._early: dict[int, BatchResult] = {}

    def ready(self, result: BatchResult) -> Iterator[BatchResult]:
        """The results whose turn it is now that this one has come."""
        if not self._in_order:
            self.handed_on += 1
            yield result
            return
        self._early[result.index] = result
        while (following := self._early.pop(self.handed_on, None)) is not None:
            self.handed_on += 1
            yield following


def _run(
    workers: _Workers, items: Iterator[tuple[int, Conversation]], in_order: bool
) -> Generator[BatchResult, None, None]:
    order = _Order(in_order)
    more = True
    try:
        while True:
            while more and workers.taken - order.handed_on < workers.window and workers.want_more:
                if item := next(items, None):
                    workers.start(*item)
                more = item is not None
            if workers.taken == order.handed_on:
                return
            yield from order.ready(workers.next_result())
    finally:
        workers.stop()


class _Workers:
    """Threads that answer conversations.

    A ThreadPoolExecutor would not do: Python waits for its threads at the end of a program, before what stops the
    answers that they wait for; and it takes its first thread for granted, which a full system does not give.

    Attributes:
        window: How many conversations may be taken and not yet handed back.
        taken: How many conversations there were so far.
    """

    def __init__(self, client: _Streaming, concurrency: int, options: Options) -> None:
        self.window = _AHEAD * concurrency
        self.taken = 0
        self._received = 0
        self._results: queue.SimpleQueue[BatchResult] = queue.SimpleQueue()
        self._client = client
        self._concurrency = concurrency
        self._options = options
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # A finalizer of the results may call `stop` in the middle of what it guards, in the same thread.
        self._lock = threading.RLock()  # guards what follows
        self._running: set[ChatStream] = set()
        self._stopped = False

    @property
    def want_more(self) -> bool:
        """Whether to take another conversation now: a thread is free, or there is no result to hand back first."""
        results = self._results.qsize()
        return results == 0 or self.taken - self._received - results < self._concurrency

    def next_result(self) -> BatchResult:
        """Wait for a result."""
        result = self._results.get()
        self._received += 1
        return result

    def start(self, index: int, conversation: Conversation) -> None:
        """Have a conversation answered."""
        self.taken += 1
        self._jobs.put((contextvars.copy_context(), index, conversation))
        if len(self._threads) < self._concurrency:
            self._add_thread()

    def stop(self) -> None:
        """Cancel what runs, and wait for the threads."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for stream in running:
            stream.close()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():  # nor can it wait for itself
                thread.join()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="nemotron-client-batch", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more; those that there are do all the work
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while job := self._jobs.get():
            context, index, conversation = job
            if not self._stopped:
                self._results.put(context.run(self._result, index, conversation))

    def _result(self, index: int, conversation: Conversation) -> BatchResult:
        try:
            messages, options = _parts(conversation, self._options)
            with self._client.stream_chat(messages, **options) as stream:
                with self._lock:
                    self._running.add(stream)
                    stopped = self._stopped
                if stopped:
                    stream.close()
                try:
                    return BatchResult(index, stream.get_final())
                finally:
                    with self._lock:
                        self._running.discard(stream)
        except Exception as error:
            return BatchResult(index, error=error)


async def _run_async(
    tasks: _Tasks, conversations: Iterable[Conversation] | AsyncIterable[Conversation], in_order: bool
) -> AsyncGenerator[BatchResult, None]:
    order = _Order(in_order)
    more = True
    taking = asyncio.create_task(tasks.take(conversations))
    try:
        while more or tasks.taken > order.handed_on:
            result = await tasks.results.get()
            if result is None:
                more = False
                await taking  # raises what the conversations have raised
                continue
            for one in order.ready(result):
                tasks.room.release()
                yield one
    finally:
        taking.cancel()
        await tasks.stop()


class _Tasks:
    """Tasks that answer conversations.

    Attributes:
        results: What has come, and None once there are no further conversations.
        room: Places for conversations that are not handed back yet.
        taken: How many conversations there were so far.
    """

    def __init__(self, client: _Chatting, concurrency: int, options: Options) -> None:
        self.results: asyncio.Queue[BatchResult | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(_AHEAD * concurrency)
        self.taken = 0
        self._client = client
        self._options = options
        self._free = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, conversations: Iterable[Conversation] | AsyncIterable[Conversation]) -> None:
        """Have conversations answered, while there is room."""
        try:
            items = _async_iterator(conversations)
            await self.room.acquire()
            async for conversation in items:
                task = asyncio.create_task(self._work(self.taken, conversation))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self.taken += 1
                await self.room.acquire()
        finally:
            self.results.put_nowait(None)

    async def stop(self) -> None:
        """Cancel what runs, and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self, index: int, conversation: Conversation) -> None:
        async with self._free:
            self.results.put_nowait(await self._result(index, conversation))

    async def _result(self, index: int, conversation: Conversation) -> BatchResult:
        try:
            messages, options = _parts(conversation, self._options)
            return BatchResult(index, await self._client.chat(messages, **options))
        except Exception as error:
            return BatchResult(index, error=error)


def _parts(conversation: Conversation, options: Options) -> tuple[Iterable[Message], Options]:
    if isinstance(conversation, BatchItem):
        return conversation.messages, {**options, **conversation.options}
    return conversation, options


async def _async_iterator(
    conversations: Iterable[Conversation] | AsyncIterable[Conversation],
) -> AsyncGenerator[Conversation, None]:
    if isinstance(conversations, AsyncIterable):
        async for conversation in conversations:
            yield conversation
    else:
        for conversation in conversations:
            yield conversation
