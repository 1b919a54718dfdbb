"""A caller wants the answer now: both clients, over every way to a script."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, ContentDelta, ReasoningDelta, ServerUnavailableError
from nemotron_client.testing import AsyncMockTransport, FakeServer, MockTransport, RecordedRequest, ScriptedReply
from tests.integration.client.conftest import Connect, Driven, connecting

THINKER = ScriptedReply("It is four.", reasoning_content="so " * 2000, token_s=0.002)
QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
HI = [{"role": "user", "content": "Hi"}]


def reply_to(request: RecordedRequest) -> ScriptedReply:
    return THINKER if request.options.get("thinking") else ScriptedReply("on and", endless=True, token_s=0.002)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(reply_to) as server:
        yield server


@pytest.fixture(params=[Client, Driven], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with connecting(request.param) as (connect,):
        yield connect


WAYS = {"sessions": {}, "no sessions": {"sessions": 0}, "http": {}}


@pytest.fixture(params=list(WAYS))
def client(request: pytest.FixtureRequest, server: FakeServer, connect: Connect) -> Any:
    url = server.http_url if request.param == "http" else server.grpc_url
    return connect(url, **WAYS[request.param])


def test_the_answer_comes_at_once_and_the_reply_says_so(server: FakeServer, client: Any) -> None:
    with client.stream_chat(QUESTION, thinking=True) as stream:
        assert isinstance(next(stream), ReasoningDelta)
        assert stream.end_thinking() is True
        reply = stream.get_final()
        assert stream.end_thinking() is False
    assert (reply.content, reply.finish_reason, reply.thinking_budget_reached) == ("It is four.", "stop", True)
    assert 1 <= reply.usage.reasoning_tokens < 1000
    assert reply.usage.output_tokens == reply.usage.reasoning_tokens + 3
    assert server.thinking_ends == [stream.request_id]
    assert server.requests[0].outcome == "answered"


def test_whoever_knows_the_id_may_say_so(server: FakeServer, client: Any, connect: Connect) -> None:
    with client.stream_chat(QUESTION, thinking=True, request_id="mine") as stream:
        next(stream)
        assert connect(server.grpc_url).end_thinking("mine") is True
        assert stream.get_final().thinking_budget_reached
    assert client.end_thinking("mine") is False


def test_who_does_not_think_is_left_alone(client: Any) -> None:
    with client.stream_chat(HI) as stream:
        next(stream)
        assert stream.end_thinking() is False
        assert client.end_thinking(stream.request_id) is False
        assert [next(stream).text for _ in range(4)] == [" and", "on", " and", "on"]
    assert client.end_thinking("nobody's") is False


def test_one_of_several_servers_has_it(server: FakeServer, connect: Connect) -> None:
    with socket.socket() as bound, connect(server.grpc_url).stream_chat(QUESTION, thinking=True) as stream:
        next(stream)
        bound.bind(("127.0.0.1", 0))  # nothing listens there
        both = connect([f"grpc://127.0.0.1:{bound.getsockname()[1]}", server.grpc_url])
        assert both.end_thinking(stream.request_id) is True
        stream.get_final()
        with pytest.raises(ServerUnavailableError):
            both.end_thinking(stream.request_id)


def test_without_a_network() -> None:
    with Client(transport=MockTransport(reply_to)) as client, client.stream_chat(QUESTION, thinking=True) as stream:
        next(stream)
        assert stream.end_thinking() is True
        assert stream.get_final().content == "It is four."
        assert client.end_thinking(stream.request_id) is False


def test_without_a_network_and_asynchronously() -> None:
    async def talk() -> None:
        transport = AsyncMockTransport(reply_to)
        async with AsyncClient(transport=transport) as client:
            stream = client.stream_chat(QUESTION, thinking=True)
            assert await stream.end_thinking() is False  # it was not sent yet
            async with stream:
                await anext(stream)
                reading = asyncio.create_task(stream.get_final())
                assert await stream.end_thinking() is True
                reply = await reading
            assert (reply.content, reply.thinking_budget_reached) == ("It is four.", True)
            assert transport.thinking_ends == [stream.request_id]

    asyncio.run(talk())


def test_a_stream_says_before_its_end_that_the_thinking_was_ended() -> None:
    reply = ScriptedReply("It is four.", reasoning_content="so so", thinking_budget_reached=True)

    async def told() -> list[tuple[type, bool]]:
        async with AsyncClient(transport=AsyncMockTransport(reply)) as client:
            stream = client.stream_chat(QUESTION, thinking=True)
            return [(type(event), stream.thinking_budget_reached) async for event in stream]

    with Client(transport=MockTransport(reply)) as client, client.stream_chat(QUESTION, thinking=True) as stream:
        assert stream.thinking_budget_reached is False
        seen = [(type(event), stream.thinking_budget_reached) for event in stream]
    assert seen == asyncio.run(told())
    assert set(seen) == {(ReasoningDelta, False), (ContentDelta, True)}
