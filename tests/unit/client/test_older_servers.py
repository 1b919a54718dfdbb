"""A server that lacks outputs which came with a later version refuses a request that names them, before it begins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, ServerError, UserMessage
from nemotron_client._transports import Call
from tests.unit.client.pretend import URL, Answer, AsyncPretend, Pretend, last_text, says

QUESTION = [UserMessage("Hi")]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def without(*unknown: str) -> Answer:
    """Refuses as Triton does, which names one output at a time."""

    def answer(call: Call) -> Any:
        for name in unknown:
            if name in call.outputs:
                message = f"unexpected inference output '{name}' for model 'ensemble'"
                raise ServerError(message, request_id=call.request_id, url=URL)
        return says(last_text(call))

    return answer


def ask_sync(answer: Answer, **options: Any) -> tuple[Any, Pretend]:
    transport = Pretend(answer)
    with Client(transport=transport, max_retries=0) as client:
        return client.chat(QUESTION, **options), transport


def ask_async(answer: Answer, **options: Any) -> tuple[Any, AsyncPretend]:
    transport = AsyncPretend(answer)

    async def ask() -> Any:
        async with AsyncClient(transport=transport, max_retries=0) as client:
            return await client.chat(QUESTION, **options)

    return asyncio.run(ask()), transport


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_it_is_asked_again_without_what_can_be_missed(ask: Any) -> None:
    reply, transport = ask(without("package", "tool_call_error"), tools=TOOLS, request_id="mine")
    assert (reply.content, reply.package) == ("Hi", "")
    first, *_, last = transport.calls
    assert set(first.outputs) - set(last.outputs) == {"package", "tool_call_error"}
    assert {call.request_id for call in transport.calls} == {"mine"}
    assert transport.posts == []  # nothing was begun that would have to be stopped


def test_an_output_without_which_there_is_no_answer_is_not_left_out(ask: Any) -> None:
    asked: list[Call] = []

    def answer(call: Call) -> Any:
        asked.append(call)
        return without("finish_reason")(call)

    with pytest.raises(ServerError, match="unexpected inference output 'finish_reason'"):
        ask(answer)
    assert len(asked) == 1
