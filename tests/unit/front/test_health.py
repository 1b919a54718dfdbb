"""What probes are told."""

from __future__ import annotations

import asyncio
from typing import Any

from nemotron_client.testing import Fault
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


def test_a_request_waits_a_moment_for_a_server_that_was_not_found() -> None:
    async def run() -> tuple[Caller, list[Caller], int]:
        app, transport = app_of([Fault.not_ready(), "Hello.", "Hello."])
        transport.ready = False
        refused = await ask(app, CHAT, HI)
        waiting = [asyncio.ensure_future(ask(app, CHAT, body)) for body in (HI, STREAM)]
        await asyncio.sleep(0.05)
        sent = len(transport.requests)
        transport.ready = True
        return refused, list(await asyncio.gather(*waiting)), sent

    refused, answered, sent = asyncio.run(run())
    assert (refused.status, refused.error["code"]) == (503, "not_ready")
    assert [one.status for one in answered] == [200, 200]
    assert sent == 1


def test_after_a_failure_a_request_looks_for_a_server_before_it_asks() -> None:
    async def run() -> tuple[list[Caller], list[bool]]:
        app, transport = app_of(["Hello.", Fault.not_ready(), "Hello."])
        looked: list[bool] = []
        really = transport.is_ready

        async def is_ready(*arguments: Any) -> bool:
            looked.append(len(transport.requests) == len(callers))
            return await really(*arguments)

        transport.is_ready = is_ready  # type: ignore[method-assign, assignment]
        callers: list[Caller] = []
        for _ in range(3):
            callers.append(await ask(app, CHAT, HI))
        return callers, looked

    callers, looked = asyncio.run(run())
    assert [one.status for one in callers] == [200, 503, 200]
    assert looked == [True, True]
