"""Functions as tools against a real Triton: a scripted conversation, and calls whose form the engine is held to."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from nemotron_client import AsyncClient, Client, ToolRun, UserMessage, run_tools, run_tools_async
from tests.integration.conftest import Server


def run_sync(url: str, text: str, **options: Any) -> ToolRun:
    with Client(url) as client:
        return run_tools(client, [UserMessage(text)], **options)


def run_async(url: str, text: str, **options: Any) -> ToolRun:
    async def run() -> ToolRun:
        async with AsyncClient(url) as client:
            return await run_tools_async(client, [UserMessage(text)], **options)

    return asyncio.run(run())


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., ToolRun]:
    kind: Callable[..., ToolRun] = request.param
    return kind


def get_weather(city: str) -> dict[str, Any]:
    """The weather in a city."""
    return {"city": city, "celsius": 31, "sky": "sunny"}


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(("marker", "thinking"), [("[sim:tool]", False), ("[sim:think-tool]", True)])
def test_the_model_calls_a_function_and_answers(
    simulated_server: Server, run: Any, scheme: str, marker: str, thinking: bool
) -> None:
    url = simulated_server.grpc_url if scheme == "grpc" else simulated_server.http_url
    result = run(url, f"Weather in Bangkok? {marker}", tools=[get_weather], thinking=thinking, max_tokens=800)
    call = result.replies[0].tool_calls[0]
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Bangkok"}')
    assert bool(result.replies[0].reasoning_content) is thinking
    roles = [message["role"] for message in result.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert result.messages[2]["content"] == '{"city": "Bangkok", "celsius": 31, "sky": "sunny"}'
    assert "31 °C" in result.reply.content
    assert not result.limit_reached


def test_the_model_reads_an_error_in_place_of_a_result(simulated_server: Server, run: Any) -> None:
    def get_weather(city: int) -> str:
        return str(city)

    result = run(simulated_server.grpc_url, "Weather? [sim:tool]", tools=[get_weather], max_tokens=800)
    assert result.messages[2]["content"] == "error: get_weather: city: Input should be a valid integer"
    assert result.reply.content


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Topping:
    """What is on it."""

    kind: Literal["cheese", "ham"]
    twice: bool


Pair = tuple[Topping, Topping]


def test_a_required_call_fits_the_signature(demo_server: Server, run: Any) -> None:
    orders: list[tuple[Any, ...]] = []

    def order(size: Size, toppings: Pair, extra: Topping | None, hour: Literal[12, 18]) -> str:
        """Order a pizza.

        Args:
            size: How big.
            toppings: What is on it.
            extra: What comes with it.
            hour: When it comes.
        """
        orders.append((size, toppings, extra, hour))
        return "ordered"

    options: dict[str, Any] = {"thinking": False, "max_tokens": 200, "temperature": 0.0, "max_rounds": 1}
    result = run(demo_server.grpc_url, "Order a pizza with ham.", tools=[order], tool_choice=order, **options)
    assert [message["content"] for message in result.messages if message["role"] == "tool"] == ["ordered"]
    ((size, toppings, extra, hour),) = orders
    assert isinstance(size, Size)
    assert all(isinstance(topping, Topping) for topping in toppings)
    assert extra is None or isinstance(extra, Topping)
    assert hour in (12, 18)
    assert result.limit_reached
    assert result.reply.tool_calls == ()
