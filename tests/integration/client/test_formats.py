"""Answers of a real model as objects: the engine is held to the schema that is made of a type."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pydantic
import pytest

from nemotron_client import AsyncClient, Client, InvalidRequestError, ParseError, Reply, UserMessage
from tests.integration.conftest import Server


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Pet:
    """A pet."""

    kind: Literal["cat", "dog"]
    colours: tuple[Colour, Colour]
    tame: bool
    friend: Pet | None


class Votes(TypedDict):
    yes: bool
    no: bool | None


class Cat(pydantic.BaseModel):
    kind: Literal["cat", "tomcat"] = "cat"
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: Annotated[str, pydantic.StringConstraints(max_length=8)]


class Home(pydantic.BaseModel):
    """Where a pet lives."""

    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    rooms: set[Literal["kitchen", "hall"]] = pydantic.Field(max_length=2)


def ask_sync(url: str, text: str, **options: Any) -> Reply:
    with Client(url) as client:
        return client.chat([UserMessage(text)], **options)


def ask_async(url: str, text: str, **options: Any) -> Reply:
    async def ask() -> Reply:
        async with AsyncClient(url) as client:
            return await client.chat([UserMessage(text)], **options)

    return asyncio.run(ask())


KINDS: dict[str, tuple[Any, Any, Any]] = {
    "dataclass": (ask_sync, Pet, Pet),
    "dataclass async": (ask_async, Pet, Pet),
    "typed dict": (ask_sync, Votes, dict),
    "pydantic async": (ask_async, Home, Home),
    "list": (ask_sync, list[Colour], list),
    "enum": (ask_sync, Colour, Colour),
    "literal": (ask_sync, Literal["a", 1], (str, int)),
}


@pytest.fixture(scope="module")
def asked(demo_server: Server) -> Iterator[dict[str, Future[Reply]]]:
    """The answers of all kinds, at once."""
    options = {"thinking": False, "max_tokens": 150, "temperature": 0.0}
    with ThreadPoolExecutor(len(KINDS)) as pool:
        yield {
            name: pool.submit(ask, demo_server.grpc_url, "Tell me of a cat, as JSON.", response_format=kind, **options)
            for name, (ask, kind, _) in KINDS.items()
        }


@pytest.mark.parametrize("name", KINDS)
def test_the_answer_is_an_object_of_the_type(asked: dict[str, Future[Reply]], name: str) -> None:
    _, _, made = KINDS[name]
    try:
        reply = asked[name].result()
    except ParseError as error:  # a small model may go on and on where the form lets it
        assert error.reply.finish_reason == "length"
    else:
        assert isinstance(reply.parsed, made)


def test_it_follows_the_thinking(demo_server: Server) -> None:
    options: dict[str, Any] = {"thinking": True, "max_thinking_tokens": 10, "max_tokens": 60, "temperature": 0.0}
    reply = ask_sync(demo_server.http_url, "Is water wet?", response_format=bool, **options)
    assert isinstance(reply.parsed, bool)
    assert reply.usage.reasoning_tokens > 0


def test_an_answer_that_is_cut_off(demo_server: Server) -> None:
    options: dict[str, Any] = {"thinking": False, "max_tokens": 3}
    with pytest.raises(ParseError, match="was cut off by max_tokens") as caught:
        ask_sync(demo_server.grpc_url, "Tell me of a cat.", response_format=Pet, **options)
    assert caught.value.reply.finish_reason == "length"
    assert '{"kind": '.startswith(caught.value.reply.content[:9])
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 9}
    reply = ask_sync(demo_server.grpc_url, "A cat.", response_format=schema, **options)
    assert (reply.parsed, reply.finish_reason) == (None, "length")


def test_a_schema_that_the_server_refuses_is_named(demo_server: Server) -> None:
    odd = {"type": "integer", "multipleOf": 3}
    with pytest.raises(InvalidRequestError, match="'multipleOf' is not supported") as caught:
        ask_sync(demo_server.grpc_url, "A number.", response_format=odd)
    assert caught.value.param == "response_format"
