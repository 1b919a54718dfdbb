"""Tokens of prompts, and the text of tokens: both clients, over every way to a script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, InvalidRequestError, ServerUnavailableError, TokenizedPrompt
from nemotron_client.testing import AsyncMockTransport, FakeServer, MockTransport
from tests.integration.client.conftest import Connect, Driven, connecting

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi, and hi again."}]
NOBODY = "grpc://127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer("Hi.") as server:
        yield server


@pytest.fixture(params=[Client, Driven], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with connecting(request.param) as (connect,):
        yield connect


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, server: FakeServer, connect: Connect) -> Any:
    return connect(getattr(server, f"{request.param}_url"), max_retries=0)


def test_a_conversation_and_a_prompt_have_tokens(server: FakeServer, client: Any) -> None:
    prompt = client.tokenize(MESSAGES, thinking=True)
    assert isinstance(prompt, TokenizedPrompt)
    assert client.count_tokens(MESSAGES) == len(prompt.token_ids) == client.chat(MESSAGES).usage.prompt_tokens
    assert client.detokenize(prompt.token_ids) == prompt.text == "Be brief.Say hi, and hi again."
    assert client.tokenize("brief").token_ids == client.tokenize("brief").token_ids
    assert client.count_tokens("one") == 1
    assert len(server.requests) == 1  # those of the chat alone


def test_what_is_wrong_is_said_before_or_by_the_server(client: Any) -> None:
    with pytest.raises(TypeError, match="'stop' is no option"):
        client.tokenize(MESSAGES, stop=["x"])
    with pytest.raises(InvalidRequestError) as caught:
        client.count_tokens([])
    assert caught.value.param == "messages"
    with pytest.raises(ValueError, match=r"^token_ids: none"):
        client.detokenize([])
    with pytest.raises(TypeError, match=r"^input_ids: str was given"):
        client.detokenize(["a"])
    with pytest.raises(InvalidRequestError) as caught:
        client.detokenize([12345])
    assert caught.value.param == "input_ids"


def test_the_first_server_that_can_be_asked_answers(server: FakeServer, connect: Connect) -> None:
    both = connect([NOBODY, server.grpc_url])
    assert both.count_tokens("one two") == 2
    with pytest.raises(InvalidRequestError):
        connect([server.grpc_url, NOBODY]).detokenize([12345])
    with pytest.raises(ServerUnavailableError):
        connect(NOBODY).count_tokens("one two")


def test_without_a_network() -> None:
    with Client(transport=MockTransport()) as client:
        assert client.detokenize(client.tokenize("one two").token_ids) == "one two"
        with pytest.raises(InvalidRequestError):
            client.detokenize([99])

    async def talk() -> str:
        async with AsyncClient(transport=AsyncMockTransport()) as client:
            assert await client.count_tokens(MESSAGES) == 7
            return await client.detokenize((await client.tokenize("one two")).token_ids)

    assert asyncio.run(talk()) == "one two"
