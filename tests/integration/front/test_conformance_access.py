"""Errors, access and leaving, as callers of a front before a real server see them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from tests.integration.conftest import Front, Server, fronting
from tests.integration.front.raw import CHAT, RawCaller, question
from tests.integration.test_failures import IN_FLIGHT
from tests.waiting import allowed, wait_until

LEFT_S = 0.5 + 0.25  # what the metrics say is up to a quarter of a second old
LONG = question("[sim:random]", max_tokens=5000)
PROMPT = "a-word-that-no-log-may-have"
KEYS = {"none": "", "wrong": "Bearer third", "first": "Bearer one", "second": "Bearer two"}


@pytest.fixture(scope="module")
def keyed_front(simulated_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """With two keys, and a page from elsewhere that may use it, beside a server that a test can fill."""
    directory = tmp_path_factory.mktemp("keyed")
    (directory / "keys").write_text("one # the first\ntwo\n")
    options = ["--api-key-file", str(directory / "keys"), "--cors-origin", "https://chat.example"]
    with fronting(simulated_server, directory, *options, "--keep-alive-seconds", "0.5") as front:
        yield front


def test_a_stream_ends_with_done_and_a_blank_line(front: Front) -> None:
    status, headers, text = front.post(CHAT, question("Hi", stream=True, max_tokens=3))
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert text.endswith("data: [DONE]\n\n")
    assert text.count("[DONE]") == 1


def test_silence_is_broken_by_a_comment(keyed_front: Front, simulated_server: Server) -> None:
    headers = {"Authorization": "Bearer one"}
    with contextlib.ExitStack() as running:
        for _ in range(4):  # which fills the server: a fifth waits until we let it
            one = RawCaller(keyed_front.url, {**LONG, "stream": True}, headers=headers)
            running.enter_context(one).read_until(b"data: {")
        caller = RawCaller(keyed_front.url, question("Hi", stream=True, max_tokens=3), headers=headers)
        caller.read_until(b"\r\n: keep-alive\n\n")
        assert b"data:" not in caller.received
    with caller:
        caller.read_all()
    assert json.loads(caller.data[0])["choices"][0]["delta"]["role"] == "assistant"
    assert caller.data[-1] == "[DONE]"
    wait_until(lambda: simulated_server.metric(IN_FLIGHT) == 0)  # the next test finds it empty


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"messages": [{"role": "user", "content": "\\ud800"}]}'])
def test_a_body_that_is_no_json_object_is_refused(front: Front, body: bytes) -> None:
    status, headers, text = front.post(CHAT, body)
    error = json.loads(text)["error"]
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", CHAT, 405), ("PUT", CHAT, 405)]
)
def test_what_is_not_there_is_json_too(front: Front, method: str, path: str, status: int) -> None:
    with RawCaller(front.url, path=path, method=method) as caller:
        head, _, body = caller.read_all().partition(b"\r\n\r\n")
    assert caller.status == status
    assert b"content-type: application/json" in head
    assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(front: Front, chunked: bool) -> None:
    size = (8 << 20) + 1
    sent = b"".join(b"100000\r\n" + b" " * (1 << 20) + b"\r\n" for _ in range(9)) if chunked else b" " * size
    headers = {"Content-Length": "", "Transfer-Encoding": "chunked"} if chunked else {}
    with RawCaller(front.url, headers=headers or {"Content-Length": str(size)}) as caller:
        sending = threading.Thread(target=caller.send, args=[sent])
        sending.start()
        caller.read_until(b"request_too_large")
        sending.join()
    assert caller.status == 413


def test_a_full_server_is_told_at_once_and_tried_again(simulated_server: Server, tmp_path: Path) -> None:
    """Of four places and as many to wait in, one becomes free."""
    with fronting(simulated_server, tmp_path) as front:
        callers = [RawCaller(front.url, LONG) for _ in range(8)]
        wait_until(lambda: simulated_server.metric(IN_FLIGHT) == 8)
        status, headers, text = front.post(CHAT, question("Hi", max_tokens=2))
        assert status == 429
        assert json.loads(text)["error"]["code"] == "server_overloaded"
        assert float(headers["retry-after"]) <= 5
        assert headers["x-should-retry"] == "true"
        leaving = threading.Timer(0.5, lambda: list(map(RawCaller.close, callers)))
        leaving.start()
        with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=5) as client:
            answer = client.chat.completions.create(model="simulated", **question("Hi", max_tokens=2))
        leaving.join()
    assert answer.usage.completion_tokens == 2


@pytest.mark.parametrize(("key", "status"), [("none", 401), ("wrong", 401), ("first", 200), ("second", 200)])
def test_a_key_is_asked_for(keyed_front: Front, key: str, status: int) -> None:
    headers = {"Authorization": KEYS[key]}
    with RawCaller(keyed_front.url, question("Hi", max_tokens=2), headers=headers) as caller:
        caller.read_all()
    assert caller.status == status


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/v1/health/live", 200), ("/v1/health/ready", 200), ("/v1/models", 401)]
)
def test_probes_and_the_page_are_open(keyed_front: Front, path: str, status: int) -> None:
    with RawCaller(keyed_front.url, path=path, method="GET") as caller:
        caller.read_all()
    assert caller.status == status


@pytest.mark.parametrize(("origin", "allowed"), [("https://evil.example", False), ("https://chat.example", True)])
def test_a_page_from_elsewhere_needs_to_be_listed(keyed_front: Front, origin: str, allowed: bool) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    with RawCaller(keyed_front.url, method="OPTIONS", headers=asked) as preflight:
        preflight.read_all()
    with RawCaller(
        keyed_front.url, question("Hi"), headers={"Origin": origin, "Authorization": "Bearer one"}
    ) as caller:
        caller.read_all()
    assert (preflight.status, caller.status) == ((200, 200) if allowed else (403, 403))
    for one in (preflight, caller):
        assert (f"access-control-allow-origin: {origin}".encode() in one.received) is allowed


@pytest.mark.parametrize("leave", [RawCaller.close, RawCaller.reset, RawCaller.shut], ids=["close", "reset", "shut"])
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
def test_a_caller_that_leaves_frees_its_place(
    front: Front, roomy_server: Server, leave: Callable[[RawCaller], None], streamed: bool
) -> None:
    caller = RawCaller(front.url, {**LONG, "stream": streamed})
    wait_until(lambda: roomy_server.metric(IN_FLIGHT) == 1)
    if streamed:
        caller.read_until(b"data:")
    began = time.monotonic()
    leave(caller)
    wait_until(lambda: roomy_server.metric(IN_FLIGHT) == 0)
    assert time.monotonic() - began < allowed(LEFT_S)
    caller.close()


def test_no_log_has_a_prompt(front: Front, roomy_server: Server) -> None:
    for body in (
        question(PROMPT, max_tokens=2),
        question(PROMPT, stream=True, max_tokens=2),
        question(PROMPT, top_k="x"),
    ):
        front.post(CHAT, body)
    with RawCaller(front.url, path=f"/v1/{PROMPT}?{PROMPT}", method="GET") as caller:
        caller.read_all()
    wait_until(lambda: front.log.read_text().count("POST /v1/chat/completions") >= 3)
    assert PROMPT not in front.log.read_text() + roomy_server.log.read_text()
