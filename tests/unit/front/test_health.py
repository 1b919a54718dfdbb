"""What probes are told."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.front.caller import Caller, ask, get
from tests.unit.front.scripts import CHAT, HI, STREAM, app_of


def test_a_front_before_a_ready_server_is_live_and_ready() -> None:
    async def run() -> list[Caller]:
        app, _ = app_of()
        return [await get(app, path) for path in ("/health", "/v1/health/live", "/v1/health/ready")]

    health, live, ready = asyncio.run(run())
    assert (health.status, live.status, ready.status) == (200, 200, 200)
    assert ready.json.keys() == {"object", "message", "status"}
    assert (ready.json["object"], ready.json["status"]) == ("health.response", "ready")


def test_a_front_before_a_server_that_is_not_ready_is_live_alone() -> None:
    async def run() -> list[Caller]:
        app, transport = app_of()
        transport.ready = False
        return [await get(app, path) for path in ("/v1/health/live", "/v1/health/ready")]

    live, ready = asyncio.run(run())
    assert (live.status, ready.status) == (200, 503)
    assert ready.error["code"] == "not_ready"
    assert "retry-after" in ready.headers


def test_many_probes_are_one_question() -> None:
    async def run() -> tuple[list[Caller], int]:
        app, transport = app_of()
        asked = 0
        really = transport.is_ready

        async def counted(*arguments: Any) -> bool:
            nonlocal asked
            asked += 1
            return await really(*arguments)

        transport.is_ready = counted  # type: ignore[method-assign, assignment]
        callers = await asyncio.gather(*(get(app, "/v1/health/ready") for _ in range(50)))
        return list(callers), asked

    callers, asked = asyncio.run(run())
    assert {caller.status for caller in callers} == {200}
    assert asked == 1


def test_while_it_stops_a_front_is_live_but_takes_nothing_new() -> None:
    async def run() -> list[Caller]:
        app, _ = app_of("Hello.")
        app.front.leaving = app.front.stopping = True
        return [await get(app, "/v1/health/live"), await get(app, "/v1/health/ready"), await ask(app, CHAT, HI)]

    live, ready, chat = asyncio.run(run())
    assert (live.status, ready.status, chat.status) == (200, 503, 503)
    assert ready.error["code"] == chat.error["code"] == "shutting_down"
    assert "retry-after" in chat.headers


def test_while_it_leaves_a_front_is_not_ready_and_answers_all_the_same() -> None:
    async def run() -> list[Caller]:
        app, _ = app_of("Hello.")
        before = await ask(app, CHAT, HI)
        app.front.leaving = True
        return [before, await get(app, "/v1/health/ready"), await ask(app, CHAT, HI), await ask(app, CHAT, STREAM)]

    before, ready, chat, stream = asyncio.run(run())
    assert (ready.status, ready.error["code"]) == (503, "shutting_down")
    assert (chat.status, stream.status) == (200, 200)
    assert "connection" not in before.headers
    assert {one.headers["connection"] for one in (ready, chat, stream)} == {"close"}
