"""Both clients behind one face, so that each test runs with both."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

import pytest

from nemotron_client import AsyncChatStream, AsyncClient, Client, Event, Reply
from tests.integration.conftest import Server

HI = [{"role": "user", "content": "Hi"}]
RANDOM = [{"role": "user", "content": "[sim:random]"}]
STALL = [{"role": "user", "content": "[sim:stall]"}]
ENDLESS = 100_000  # tokens


class Driven:
    """An AsyncClient in a loop of its own, called like a Client."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="driven")
        self._thread.start()
        try:
            self.client = AsyncClient(*arguments, **options)
        except BaseException:
            self._stop()
            raise

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return self._run(method(*arguments, **options))

        return call if asyncio.iscoroutinefunction(method) else method

    def stream_chat(self, *arguments: Any, **options: Any) -> DrivenStream:
        return DrivenStream(self._run, self.client.stream_chat(*arguments, **options))

    def stream_generate(self, *arguments: Any, **options: Any) -> DrivenStream:
        return DrivenStream(self._run, self.client.stream_generate(*arguments, **options))

    def with_options(self, **options: Any) -> Driven:
        copy = object.__new__(Driven)
        copy.__dict__.update(self.__dict__, client=self.client.with_options(**options))
        return copy

    def close(self) -> None:
        self._run(self.client.close())

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
            self._run(self._only_this_task_is_left())
            self._run(self._loop.shutdown_default_executor())
        finally:
            self._stop()

    async def _only_this_task_is_left(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:  # gRPC's own ones end a moment after their streams
            await asyncio.wait(left, timeout=20)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class DrivenStream:
    """An AsyncChatStream, read like a ChatStream. The request is sent at once, as a ChatStream's is."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], stream: AsyncChatStream) -> None:
        self._run = run
        self._stream = stream
        self.request_id = stream.request_id
        run(stream.__aenter__())

    def __iter__(self) -> DrivenStream:
        return self

    def __next__(self) -> Event:
        async def step() -> Event | None:
            try:
                return await self._stream.__anext__()
            except StopAsyncIteration:
                return None

        event: Event | None = self._run(step())
        if event is None:
            raise StopIteration
        return event

    def get_final(self) -> Reply:
        reply: Reply = self._run(self._stream.get_final())
        return reply

    def end_thinking(self) -> bool:
        ends: bool = self._run(self._stream.end_thinking())
        return ends

    def close(self) -> None:
        self._run(self._stream.close())

    def __enter__(self) -> DrivenStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Connect(Protocol):
    """Makes a client of the kind under test; it is closed after the test."""

    def __call__(self, *arguments: Any, **options: Any) -> Any: ...


def _entered(stack: contextlib.ExitStack, kind: type[Client | Driven], *arguments: Any, **options: Any) -> Any:
    return stack.enter_context(kind(*arguments, **options))


@contextlib.contextmanager
def connecting(*kinds: type[Client | Driven]) -> Iterator[list[Connect]]:
    """Makes clients, of each kind in its own way; closes them in the end, and sees that no thread of theirs is left."""
    before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        yield [functools.partial(_entered, stack, kind) for kind in kinds]
    # gRPC's own thread for asyncio, one a process, goes when the last of its objects does; and a server may be here.
    others = ("_poll_wrapper", "nemotron-fake")
    started = [thread for thread in threading.enumerate() if thread not in before]
    left = [thread for thread in started if not any(name in thread.name for name in others)]
    for thread in left:  # gRPC's threads for a channel end a moment after it was closed
        thread.join(20)
    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.fixture(params=[Client, Driven], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with connecting(request.param) as (connect,):
        yield connect


@pytest.fixture
def server(roomy_server: Server) -> Server:
    return roomy_server


@pytest.fixture(params=["grpc", "http"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def url_of(server: Server, scheme: str) -> str:
    return str(server.info[f"{scheme}_url"])


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port at which nothing listens, and nothing will while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
