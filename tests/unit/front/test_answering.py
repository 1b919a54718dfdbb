"""How an answer reaches its caller, and what ends it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from nemotron_client.testing import AsyncMockTransport, Fault, ScriptedReply
from nemotron_front.app import App
from nemotron_front.errors import shutting_down
from tests.unit.front.caller import Caller, ask
from tests.unit.front.scripts import CHAT, HI, STREAM, app_of

ENDLESS = ScriptedReply("on and", endless=True, token_s=0.001)
STALLED = ScriptedReply(fault=Fault.stall())


def test_an_answer_in_one_piece_is_all_there_is() -> None:
    app, _ = app_of("Hello you.")
    caller = asyncio.run(ask(app, CHAT, HI))
    assert caller.headers["content-type"] == "application/json"
    assert int(caller.headers["content-length"]) == len(caller.body)
    assert caller.json["choices"][0]["message"]["content"] == "Hello you."


def test_a_stream_has_its_headers_and_ends_with_done() -> None:
    app, transport = app_of("Hello you.")
    caller = asyncio.run(ask(app, CHAT, STREAM, accept="application/json"))
    assert caller.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert caller.headers["cache-control"] == "no-cache"
    assert caller.headers["x-accel-buffering"] == "no"
    assert caller.body.endswith(b"data: [DONE]\n\n")
    assert not transport.cancels
    assert {json.loads(one)["id"] for one in caller.data[:-1]} == {f"chatcmpl-{transport.requests[0].request_id}"}


@pytest.mark.parametrize("reply", [ENDLESS, STALLED], ids=["running", "waiting"])
@pytest.mark.parametrize("body", [HI, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("choices", [1, 3])
def test_a_caller_that_leaves_stops_the_server(reply: ScriptedReply, body: Any, choices: int) -> None:
    async def run() -> tuple[App, AsyncMockTransport]:
        app, transport = app_of(reply)
        caller = Caller(app, CHAT, {**body, "n": choices}).start()
        async with asyncio.timeout(5):
            while len(transport.requests) < choices:
                await asyncio.sleep(0)
        if reply is ENDLESS and body is STREAM:
            await caller.read_until(lambda caller: caller.body)
        caller.leave()
        await caller.end()
        await asyncio.sleep(0)  # stops are on their way in the background
        return app, transport

    app, transport = asyncio.run(run())
    assert sorted(transport.cancels) == sorted(request.request_id for request in transport.requests)
    assert not app.front.exchanges


def test_silence_is_broken_by_comments() -> None:
    async def run() -> Caller:
        app, _ = app_of(ScriptedReply("Late.", ttft_s=0.2), keep_alive_seconds=0.05)
        return await ask(app, CHAT, STREAM)

    lines = asyncio.run(run()).body.decode().split("\n\n")
    assert lines[0].startswith(":")
    assert lines[-2] == "data: [DONE]"
    assert "role" in next(line for line in lines if line.startswith("data:"))


def test_an_error_after_a_comment_is_an_event() -> None:
    async def run() -> Caller:
        app, _ = app_of(ScriptedReply(fault=Fault.stall()), keep_alive_seconds=0.02)
        app.front.client = app.front.client.with_options(timeouts=0.5)
        return await ask(app, CHAT, STREAM)

    caller = asyncio.run(run())
    assert caller.status == 200
    assert [json.loads(one)["error"]["code"] for one in caller.data[:-1]] == ["deadline_exceeded"]
    assert caller.data[-1] == "[DONE]"


@pytest.mark.parametrize("body", [HI, STREAM], ids=["whole", "stream"])
def test_one_choice_that_is_refused_refuses_them_all(body: Any) -> None:
    async def run() -> tuple[Caller, AsyncMockTransport]:
        app, transport = app_of([ENDLESS, ScriptedReply(fault=Fault.full(), ttft_s=0.01), ENDLESS])
        caller = await ask(app, CHAT, {**body, "n": 3})
        await asyncio.sleep(0)
        return caller, transport

    caller, transport = asyncio.run(run())
    assert caller.status == 429
    running = [one.request_id for one in transport.requests if one.outcome == "cancelled"]
    assert len(running) == 2
    assert sorted(transport.cancels) == sorted(running)


def test_one_choice_that_fails_ends_the_stream_of_them_all() -> None:
    async def run() -> tuple[Caller, AsyncMockTransport]:
        app, transport = app_of([ENDLESS, ScriptedReply("A few words.", token_s=0.005, fault=Fault.internal())])
        caller = await ask(app, CHAT, {**STREAM, "n": 2})
        await asyncio.sleep(0)
        return caller, transport

    caller, transport = asyncio.run(run())
    assert json.loads(caller.data[-2])["error"]["code"] == "server_error"
    assert caller.data[-1] == "[DONE]"
    assert transport.requests[0].request_id in transport.cancels


def test_choices_come_whole_and_streamed() -> None:
    app, _ = app_of([f"Answer {number}." for number in (0, 1, 2)] * 2)

    async def run() -> tuple[Caller, Caller]:
        return await ask(app, CHAT, {**HI, "n": 3}), await ask(app, CHAT, {**STREAM, "n": 3})

    whole, stream = asyncio.run(run())
    texts = [choice["message"]["content"] for choice in whole.json["choices"]]
    streamed = ["", "", ""]
    for one in stream.data[:-1]:
        for choice in json.loads(one)["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content", "")
    assert texts == streamed == ["Answer 0.", "Answer 1.", "Answer 2."]


@pytest.mark.parametrize("body", [HI, STREAM], ids=["whole", "stream"])
def test_an_answer_that_we_cut_says_so(body: Any) -> None:
    async def run() -> Caller:
        app, transport = app_of(ENDLESS)
        caller = Caller(app, CHAT, body).start()
        async with asyncio.timeout(5):
            while not (caller.body or (body is HI and transport.requests)):
                await asyncio.sleep(0)
        for exchange in list(app.front.exchanges):
            await exchange.cut(shutting_down())
        await caller.end()
        assert transport.cancels == [transport.requests[0].request_id]
        return caller

    caller = asyncio.run(run())
    if body is STREAM:
        assert json.loads(caller.data[-2])["error"]["code"] == "shutting_down"
        assert caller.data[-1] == "[DONE]"
    else:
        assert caller.status == 503
        assert caller.error["code"] == "shutting_down"


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        (HI, "7.5", 7500),
        (HI, "1e9", 60_000),
        (HI, "", 60_000),
        (HI, "100000", 60_000),
        (STREAM, "7.5", 60_000),
        ({**HI, "timeout_ms": 5}, "7.5", 5),
        ({**HI, "timeout_ms": 500_000}, "", 60_000),
    ],
)
def test_the_server_is_told_how_long_it_may_take(body: Any, header: str, expected: int) -> None:
    app, transport = app_of("Hello.", answer_seconds=60.0)
    caller = asyncio.run(ask(app, CHAT, body, x_stainless_read_timeout=header))
    assert caller.status == 200
    assert transport.requests[0].inputs["timeout_ms"] == expected
