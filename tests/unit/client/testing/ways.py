"""All ways from a client to a script: both clients, over a mock transport, HTTP, and gRPC with and without sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from nemotron_client import AsyncClient, Client, Event, NemotronError, Reply
from nemotron_client.testing import AsyncMockTransport, FakeServer, MockTransport, Scripted

HI = [{"role": "user", "content": "Hi there"}]


@dataclass
class Outcome:
    """What came of one call: its events, and a reply or an error."""

    events: list[Event] = field(default_factory=list)
    reply: Reply | None = None
    error: NemotronError | None = None

    @property
    def whole(self) -> Reply:
        assert self.reply is not None, self.error
        return self.reply


@contextlib.contextmanager
def fake_server(kind: str, replies: Any) -> Iterator[tuple[FakeServer, str]]:
    """A server and its address for this way: `grpc`, `http`, or `before`, which is gRPC without sessions."""
    with FakeServer(replies, sessions=kind != "before") as server:
        yield server, server.http_url if kind == "http" else server.grpc_url


@contextlib.contextmanager
def sync_client(kind: str, replies: Any, settings: dict[str, Any]) -> Iterator[tuple[Client, Scripted]]:
    if kind == "mock":
        transport = MockTransport(replies)
        with Client(transport=transport, **settings) as client:
            yield client, transport
    else:
        with fake_server(kind, replies) as (server, url), Client(url, **settings) as client:
            yield client, server


@contextlib.asynccontextmanager
async def async_client(
    kind: str, replies: Any, settings: dict[str, Any]
) -> AsyncIterator[tuple[AsyncClient, Scripted]]:
    if kind == "mock":
        transport = AsyncMockTransport(replies)
        async with AsyncClient(transport=transport, **settings) as client:
            yield client, transport
    else:
        with fake_server(kind, replies) as (server, url):
            async with AsyncClient(url, **settings) as client:
                yield client, server


def ask(kind: str, replies: Any, *asked: Any, settings: Any = None, leave_after: int = -1, **options: Any) -> Any:
    """Ask one conversation after the other. Returns the outcomes and what has played the script."""
    outcomes: list[Outcome] = []
    with sync_client(kind, replies, settings or {}) as (client, scripted):
        for messages in asked or (HI,):
            outcomes.append(Outcome())
            try:
                with client.stream_chat(messages, **options) as stream:
                    for event in stream:
                        outcomes[-1].events.append(event)
                        if len(outcomes[-1].events) == leave_after:
                            break
                    else:
                        outcomes[-1].reply = stream.get_final()
            except NemotronError as error:
                outcomes[-1].error = error
    return outcomes, scripted


def ask_async(kind: str, replies: Any, *asked: Any, settings: Any = None, leave_after: int = -1, **options: Any) -> Any:
    """`ask` with an AsyncClient."""

    async def run() -> Any:
        outcomes: list[Outcome] = []
        async with async_client(kind, replies, settings or {}) as (client, scripted):
            for messages in asked or (HI,):
                outcomes.append(Outcome())
                try:
                    async with client.stream_chat(messages, **options) as stream:
                        async for event in stream:
                            outcomes[-1].events.append(event)
                            if len(outcomes[-1].events) == leave_after:
                                break
                        else:
                            outcomes[-1].reply = await stream.get_final()
                except NemotronError as error:
                    outcomes[-1].error = error
        return outcomes, scripted

    return asyncio.run(run())
