"""What callers are told when something is wrong: a status before the answer begins, an event after that."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from nemotron_client import ServerUnavailableError
from nemotron_client.testing import Fault, ScriptedReply
from tests.unit.front.caller import Caller, ask, get
from tests.unit.front.scripts import CHAT, HI, STREAM, app_of

PROMPT = "the prompt is nobody's business"
UNAUTHENTICATED = Fault.unauthenticated()
FAULTS = [
    (Fault.invalid("temperature: 9.0 was given, expected at most 2"), 400, "invalid_request_error", "invalid_value"),
    (Fault.full(), 429, "rate_limit_error", "server_overloaded"),
    (Fault.internal(), 500, "server_error", "server_error"),
    (Fault.garbage(), 500, "server_error", "server_error"),
    (UNAUTHENTICATED, 502, "server_error", "upstream_authentication"),
    (Fault.not_ready(), 503, "server_error", "not_ready"),
    (Fault.close(), 503, "server_error", "not_ready"),
    (Fault.shutting_down(), 503, "server_error", "shutting_down"),
]


def asked(reply: Any, body: Any = HI, **options: Any) -> Caller:
    app, _ = app_of(reply, **options)
    return asyncio.run(ask(app, CHAT, body))


@pytest.mark.parametrize("body", [HI, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize(("fault", "status", "kind", "code"), FAULTS)
def test_an_error_before_the_answer_is_a_status(fault: Fault, status: int, kind: str, code: str, body: Any) -> None:
    caller = asked(ScriptedReply(fault=fault), body)
    assert caller.status == status
    assert caller.headers["content-type"] == "application/json"
    assert (caller.error["type"], caller.error["code"]) == (kind, code)
    retry = status in (429, 503)
    assert caller.headers["x-should-retry"] == ("true" if retry else "false")
    assert ("retry-after" in caller.headers) is retry
    if retry:
        assert float(caller.headers["retry-after"]) <= 5
        assert float(caller.headers["retry-after-ms"]) == 1000 * float(caller.headers["retry-after"])
    assert "mock.invalid" not in caller.error["message"]  # where the servers are


@pytest.mark.parametrize(("fault", "code"), [(fault, code) for fault, _, _, code in FAULTS if fault != UNAUTHENTICATED])
def test_an_error_within_a_stream_is_an_event_and_then_the_end(fault: Fault, code: str) -> None:
    caller = asked(ScriptedReply("One two.", fault=fault), STREAM)
    assert caller.status == 200
    assert caller.over
    *_, error, done = caller.data
    assert done == "[DONE]"
    assert json.loads(error)["error"]["code"] == code
    assert json.loads(error)["error"]["message"]


def test_the_log_names_a_request_that_no_server_knows(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> Caller:
        app, transport = app_of([Fault.close()], served_model_name=())

        async def fails(*_: object) -> dict[str, Any]:
            raise ServerUnavailableError("no connection", request_id="", url="grpc://mock.invalid")

        transport.metadata = fails  # type: ignore[method-assign, assignment]
        return await get(app, "/v1/models")

    caller = asyncio.run(run())
    assert caller.status == 503
    assert f"request {caller.headers['x-request-id']}: " in caplog.text


def test_an_error_names_the_field() -> None:
    assert asked(ScriptedReply(fault=Fault.invalid("top_k: 1 was given, expected 0"))).error["param"] == "top_k"


def test_an_answer_that_did_not_begin_in_its_time_is_late() -> None:
    caller = asked(ScriptedReply("", finish_reason="timeout"))
    assert caller.status == 504
    assert caller.error["code"] == "deadline_exceeded"


def test_a_server_that_says_nothing_at_all_is_given_up() -> None:
    async def run() -> Caller:
        app, transport = app_of(ScriptedReply(fault=Fault.stall()))
        app.front.client = app.front.client.with_options(timeouts=0.05)
        caller = await ask(app, CHAT, HI)
        assert transport.cancels
        return caller

    assert asyncio.run(run()).status == 504


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/embeddings", 404, "unknown_url"),
        ("POST", "/v1/chat/completions/", 404, "unknown_url"),
    ],
)
def test_what_is_not_there_is_json_too(method: str, path: str, status: int, code: str) -> None:
    app, _ = app_of()
    caller = asyncio.run(ask(app, path, method=method))
    assert (caller.status, caller.error["code"]) == (status, code)
    assert ("allow" in caller.headers) is (status == 405)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/models", "/v1/models"),
        ("/api/v1/messages", "/v1/messages"),
        ("/completions", "/v1/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/models", "/v1/models"),
    ],
)
def test_what_may_be_meant_is_named(path: str, meant: str) -> None:
    app, _ = app_of()
    caller = asyncio.run(ask(app, path, HI))
    assert caller.status == 404
    assert f"Did you mean {meant}?" in caller.error["message"]


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "//"])
def test_what_nobody_can_mean_is_not_guessed(path: str) -> None:
    app, _ = app_of()
    assert "/openapi.json" in asyncio.run(ask(app, path, HI)).error["message"]


@pytest.mark.parametrize("path", ["/v1/" + "x" * 60_000, "/v1/models/" + "x" * 60_000, "/a\x1b[31m\n"])
def test_a_path_is_said_back_short_and_harmless(path: str) -> None:
    app, _ = app_of()
    message = asyncio.run(ask(app, path, HI)).error["message"]
    assert len(message) < 300
    assert message.isprintable()


def test_a_fault_of_our_own_is_told_without_what_it_was_about(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: object) -> str:
        raise RuntimeError(PROMPT)

    with caplog.at_level(logging.DEBUG):
        caller = asked(fails)
    assert caller.status == 500
    assert caller.error["code"] == "server_error"
    assert PROMPT not in caller.body.decode() + caplog.text
    assert "RuntimeError" in caplog.text


def test_the_request_id_of_a_caller_comes_back() -> None:
    app, _ = app_of(["Hello."])
    mine, spaced, own = (
        asyncio.run(get(app, "/health", x_request_id="mine-1")),
        asyncio.run(get(app, "/health", x_request_id="two words")),
        asyncio.run(get(app, "/health")),
    )
    assert mine.headers["x-request-id"] == "mine-1"
    assert spaced.headers["x-request-id"] not in ("two words", own.headers["x-request-id"])


def test_requests_beyond_the_limit_are_refused_at_once() -> None:
    async def run() -> Caller:
        app, _ = app_of(ScriptedReply("Hello.", endless=True, token_s=0.001), max_requests=1)
        first = Caller(app, CHAT, STREAM).start()
        await first.read_until(lambda caller: caller.body)
        second = await ask(app, CHAT, HI)
        first.leave()
        await first.end()
        return second

    caller = asyncio.run(run())
    assert caller.status == 429
    assert caller.headers["x-should-retry"] == "true"
