"""What is counted, and what is logged."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nemotron_client import Usage
from nemotron_client.testing import Fault, ScriptedReply
from nemotron_front.app import App
from tests.unit.front.caller import Caller, ask, get
from tests.unit.front.scripts import CHAT, HI, STREAM, app_of

PROMPT = "what-the-prompt-says"
ANSWER = "what-the-answer-says"
KEY = "what-the-key-is"
Samples = dict[tuple[str, tuple[str, ...]], float]


async def samples(app: App) -> Samples:
    """The values of the page by their name and their labels' values."""
    page = (await get(app, "/metrics", x_api_key=KEY)).body.decode()
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.name.removeprefix("nemotron_front_")
            found[name, tuple(value for label, value in sorted(sample.labels.items()) if label != "le")] = sample.value
    return found


def test_requests_are_counted_by_where_how_and_with_what_outcome() -> None:
    async def run() -> Samples:
        app, _ = app_of(["Hello.", "Hello.", ScriptedReply(fault=Fault.full())])
        for body in (HI, STREAM, HI, {**HI, "temperature": "hot"}):
            await ask(app, CHAT, body)
        await get(app, "/v1/nothing/of/mine")
        return await samples(app)

    found = asyncio.run(run())
    counted = {labels: value for (name, labels), value in found.items() if name == "requests_total"}
    assert counted == {
        (CHAT, "whole", "ok"): 1,
        (CHAT, "stream", "ok"): 1,
        (CHAT, "whole", "server_overloaded"): 1,
        (CHAT, "none", "invalid_value"): 1,
        ("-", "none", "unknown_url"): 1,
    }
    assert found["in_flight", ()] == 1  # the one that asks


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics"])
def test_a_front_that_is_full_or_stops_still_shows_them(path: str) -> None:
    async def run() -> list[Caller]:
        app, _ = app_of(ScriptedReply("Hello.", endless=True, token_s=0.001), max_requests=1)
        running = Caller(app, CHAT, STREAM).start()
        await running.read_until(lambda caller: caller.body)
        answers = [await get(app, path), await get(app, "/v1/models")]
        app.front.leaving = app.front.stopping = True
        answers += [await get(app, path), await get(app, "/v1/models")]
        running.leave()
        await running.end()
        return answers

    full, refused, stopping, refused_too = asyncio.run(run())
    assert [full.status, refused.status, stopping.status, refused_too.status] == [200, 429, 200, 503]
    for page in (full, stopping):
        assert b"nemotron_front_in_flight 2.0" in page.body  # the answer, and this


def test_an_answer_that_breaks_off_by_a_fault_of_ours_is_none_that_went_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise RuntimeError

    async def run() -> Samples:
        app, _ = app_of("One two.")
        monkeypatch.setattr("nemotron_front.chat.ChatShape.done", fails)
        assert (await ask(app, CHAT, STREAM)).status == 200
        return await samples(app)

    assert asyncio.run(run())["requests_total", (CHAT, "stream", "server_error")] == 1


def test_tokens_and_times_are_those_of_the_replies() -> None:
    usage = Usage(prompt_tokens=100, output_tokens=30, reasoning_tokens=20, cached_tokens=40)

    async def run() -> Samples:
        app, _ = app_of(ScriptedReply("One two.", reasoning_content="Hm. Well.", usage=usage))
        await ask(app, CHAT, STREAM)
        return await samples(app)

    found = asyncio.run(run())
    tokens = {labels[0]: value for (name, labels), value in found.items() if name == "tokens_total"}
    assert tokens == {"prompt": 100, "cached": 40, "output": 30, "reasoning": 20}
    for name in ("ttft", "first_answer", "itl"):
        assert found[f"{name}_seconds_count", ()] == 1
    assert found["ttft_seconds_sum", ()] <= found["first_answer_seconds_sum", ()]


def test_a_prompt_that_several_answers_share_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    usage = Usage(prompt_tokens=100, output_tokens=30, reasoning_tokens=0, cached_tokens=40)

    async def run() -> Samples:
        app, _ = app_of([ScriptedReply("One.", usage=usage)] * 7)
        await ask(app, CHAT, {**HI, "n": 3})
        await ask(app, "/v1/completions", {"model": "m", "prompt": ["a", "b"], "n": 2})
        return await samples(app)

    with caplog.at_level(logging.INFO, "nemotron_front.access"):
        found = asyncio.run(run())
    tokens = {labels[0]: value for (name, labels), value in found.items() if name == "tokens_total"}
    assert tokens == {"prompt": 300, "cached": 120, "output": 210, "reasoning": 0}
    assert "prompt=100 output=90" in caplog.text
    assert "prompt=200 output=120" in caplog.text


def test_callers_that_leave_are_counted_with_what_was_written_for_them() -> None:
    async def run() -> Samples:
        app, _ = app_of(ScriptedReply("on and", endless=True, token_s=0.001))
        caller = Caller(app, CHAT, STREAM).start()
        await caller.read_until(lambda one: len(one.data) > 2)
        caller.leave()
        await caller.end()
        return await samples(app)

    found = asyncio.run(run())
    assert found["callers_left_total", (CHAT,)] == 1
    assert found["requests_total", (CHAT, "stream", "caller_left")] == 1
    assert found["tokens_total", ("output",)] >= 1


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_is_there_under_both_names(path: str, method: str) -> None:
    app, _ = app_of()
    caller = asyncio.run(ask(app, path, method=method))
    assert caller.status == 200
    assert caller.headers["content-type"].startswith("text/plain")


def test_a_request_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> Caller:
        app, _ = app_of("Hello you.")
        return await ask(app, CHAT, STREAM, x_request_id="mine-1")

    with caplog.at_level(logging.INFO, "nemotron_front.access"):
        asyncio.run(run())
    (line,) = (record.getMessage() for record in caplog.records if record.name == "nemotron_front.access")
    assert line.startswith(f"POST {CHAT} 200 ok id=")
    assert "x-request-id=mine-1" in line
    assert "output=2" in line
    assert "finish=stop" in line


def test_probes_are_logged_where_they_find_something(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        app, transport = app_of()
        for path in ("/health", "/v1/health/live", "/v1/health/ready", "/v1/models"):
            await get(app, path)
        app, transport = app_of()
        transport.ready = False
        await get(app, "/v1/health/live")
        await get(app, "/v1/health/ready")

    with caplog.at_level(logging.INFO, "nemotron_front.access"):
        asyncio.run(run())
    lines = [record.getMessage().partition(" id=")[0] for record in caplog.records]
    assert lines == ["GET /v1/models 200 ok", "GET /v1/health/ready 503 not_ready"]


def test_no_log_has_any_text_or_key(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_API_KEY", KEY)
    messages = [{"role": "user", "content": PROMPT}]
    faults = (Fault.internal(), Fault.full(), Fault.close(), Fault.invalid("messages: no"), Fault.garbage())
    bodies: list[Any] = [{"model": "m", "messages": messages, "stream": stream} for stream in (True, False)]
    bodies += [{"model": PROMPT, "messages": messages}, {"messages": messages, PROMPT: 1}, PROMPT, PROMPT.encode()]

    async def run() -> None:
        for reply in (ANSWER, *(ScriptedReply(ANSWER, fault=fault) for fault in faults)):
            app, _ = app_of(reply)
            for body in bodies:
                await ask(app, CHAT, body, authorization=f"Bearer {KEY}")
            await get(app, f"/v1/{PROMPT}", x_api_key=KEY)
            await get(app, "/v1/models", x_api_key=f"{KEY}-but-wrong")

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert len(caplog.records) > 40
    assert not [word for word in (PROMPT, ANSWER, KEY) if word in caplog.text]


@pytest.mark.parametrize("at_once", [True, False], ids=["refuses", "still takes requests"])
def test_a_drain_is_seen_while_it_lasts(at_once: bool) -> None:
    async def run() -> tuple[Samples, Samples]:
        app, _ = app_of()
        before = await samples(app)
        app.leave(at_once=at_once)
        return before, await samples(app)

    before, after = asyncio.run(run())
    assert (before["draining", ()], after["draining", ()]) == (0, 1)


def test_a_front_that_is_full_is_seen_as_such() -> None:
    async def run() -> Samples:
        app, _ = app_of(ScriptedReply("on and", endless=True, token_s=0.001), max_requests=1)
        caller = Caller(app, CHAT, STREAM).start()
        await caller.read_until(lambda one: len(one.data) > 2)
        assert (await ask(app, CHAT, HI)).status == 429
        found = await samples(app)
        caller.leave()
        await caller.end()
        return found

    found = asyncio.run(run())
    assert found["max_requests", ()] == 1
    assert found["in_flight", ()] == 2  # and the one that asks


def test_nothing_but_metrics_is_answered_by_a_front_that_drains_and_they_need_a_key_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NEMOTRON_API_KEY", KEY)

    async def run() -> list[int]:
        app, _ = app_of()
        app.leave(at_once=True)
        asked = [("/metrics", KEY), ("/v1/metrics", KEY), ("/v1/models", KEY), ("/metrics", f"{KEY}-but-wrong")]
        return [(await get(app, path, x_api_key=key)).status for path, key in asked]

    assert asyncio.run(run()) == [200, 200, 503, 401]
