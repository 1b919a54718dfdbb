"""Both HTTP transports against peers that behave as they like."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_client import (
    AuthenticationError,
    ModelNotReadyError,
    NemotronError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
)
from nemotron_client._transports import Call, Connection
from tests.unit.client.http_peer import (
    END,
    QUICK_S,
    STREAM_HEAD,
    WAIT_S,
    Async,
    Caller,
    PeerConnection,
    Sync,
    answer,
    call,
    chunk,
    deaf_address,
    event,
    peer,
    refusing_address,
)


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    """A transport to call; it leaves no thread behind."""
    before = threading.active_count()
    yield request.param()
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.005)


def two_events(connection: PeerConnection) -> None:
    while connection.request():
        connection.send(STREAM_HEAD, event("a"), event("b"), END)


def test_the_request_that_is_sent(caller: Caller) -> None:
    with peer(two_events) as there:
        assert caller.read(there.url + "/llm/", call(headers={"authorization": "Bearer x"})).texts == ["a", "b"]
    ((first, headers, body),) = there.requests
    assert first == "POST /llm/v2/models/ensemble/generate_stream HTTP/1.1"
    assert json.loads(body) == {"id": "request-1", "text_input": "Hi", "stream": True}
    assert headers["authorization"] == "Bearer x"
    assert headers["content-type"] == "application/json"
    assert headers["host"] == there.url.removeprefix("http://")
    assert headers["user-agent"].startswith("nemotron-client")


def test_one_connection_serves_calls_that_follow_each_other(caller: Caller) -> None:
    with peer(two_events) as there:
        assert caller.read(there.url, *(call(f"request-{number}") for number in range(5))).texts == ["a", "b"] * 5
    assert there.connections == 1


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew(caller: Caller) -> None:
    def once(connection: PeerConnection) -> None:
        connection.request()
        connection.send(STREAM_HEAD, event("a"), END)

    with peer(once) as there:
        # Whether the end is seen before or only when the request is sent, is a matter of microseconds.
        for _ in range(3):
            outcome = caller.read(there.url, call("1"), call("2"))
            assert outcome.texts[0] == "a"
            assert outcome.error is None or type(outcome.error) is ServerUnavailableError


@pytest.mark.parametrize("size", [1, 3, 7])
def test_bytes_may_come_in_any_pieces(caller: Caller, size: int) -> None:
    texts = ["สวัสดีครับ", "नमस्ते दुनिया", "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈"]
    data = STREAM_HEAD + b"".join(chunk(part) for text in texts for part in _pieces(_event_bytes(text), size)) + END

    def dribble(connection: PeerConnection) -> None:
        connection.request()
        connection.send(*_pieces(data, size))

    with peer(dribble) as there:
        assert caller.read(there.url).texts == texts


def _event_bytes(text: str) -> bytes:
    return f'data: {{"content": "{text}"}}\r\n\r\n'.encode()


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def test_a_body_without_chunks_ends_with_its_connection(caller: Caller) -> None:
    def http_1_0(connection: PeerConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", _event_bytes("a"))

    with peer(http_1_0) as there:
        outcome = caller.read(there.url)
    assert (outcome.texts, outcome.error) == (["a"], None)


def test_gzip_where_a_gateway_does_it(caller: Caller) -> None:
    body = gzip.compress(_event_bytes("a") + _event_bytes("b"))

    def compressed(connection: PeerConnection) -> None:
        connection.request()
        connection.send(answer("200 OK", "text/event-stream", body, b"Content-Encoding: gzip\r\n"))

    with peer(compressed) as there:
        assert caller.read(there.url, call(compression="gzip")).texts == ["a", "b"]
    assert there.requests[0][1]["accept-encoding"] == "gzip"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("rest", [b"", b"20\r\ndata: {", b"ff"], ids=["between chunks", "in a chunk", "in its head"])
def test_a_connection_that_breaks_in_mid_stream(caller: Caller, rest: bytes, reset: bool) -> None:
    def broken(connection: PeerConnection) -> None:
        connection.request()
        connection.send(STREAM_HEAD, event("a"), rest)
        if reset:
            connection.reset()

    with peer(broken) as there:
        outcome = caller.read(there.url)
    assert outcome.texts in (["a"], [])  # a reset may take what was not read yet
    assert outcome.texts == ["a"] or reset
    assert type(outcome.error) is ServerUnavailableError
    assert (outcome.error.request_id, outcome.error.url) == ("request-1", there.url)


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_hangs_up(caller: Caller, reset: bool) -> None:
    def hang_up(connection: PeerConnection) -> None:
        connection.request()
        if reset:
            connection.reset()

    with peer(hang_up) as there:
        error = caller.read(there.url).error
    assert type(error) is ServerUnavailableError
    assert "broke" in str(error)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\0" * 20], ids=["ssh", "bad", "zeros"]
)
def test_a_peer_that_speaks_no_http(caller: Caller, data: bytes) -> None:
    def other(connection: PeerConnection) -> None:
        connection.request()
        connection.send(data)

    with peer(other) as there:
        assert type(caller.read(there.url).error) is ServerUnavailableError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("502 Bad Gateway", ServerUnavailableError),
        ("401 Unauthorized", AuthenticationError),
        ("200 OK", ServerError),
        ("302 Found", ServerError),
    ],
)
def test_a_page_of_a_gateway(caller: Caller, status: str, kind: type[NemotronError]) -> None:
    def page(connection: PeerConnection) -> None:
        connection.request()
        connection.send(answer(status, "text/html", b"<html>s3cret</html>", b"Location: http://127.0.0.1:1/\r\n"))

    with peer(page) as there:
        error = caller.read(there.url).error
    assert type(error) is kind
    assert f"HTTP status {status[:3]} with text/html" in str(error)
    assert "s3cret" not in str(error)
    assert error.request_id == "request-1"


def test_an_error_after_some_responses(caller: Caller) -> None:
    def fail(connection: PeerConnection) -> None:
        while connection.request():
            connection.send(STREAM_HEAD, event("a") + chunk(b'data: {"error": "x: bad (INVALID_ARGUMENT)"}\n\n'), END)

    with peer(fail) as there:
        outcome = caller.read(there.url)
    assert outcome.texts == ["a"]
    assert str(outcome.error) == "x: bad"


def test_nobody_listens(caller: Caller) -> None:
    with refusing_address() as url:
        begin = time.monotonic()
        error = caller.read(url).error
        assert time.monotonic() - begin < QUICK_S
    assert type(error) is ServerUnavailableError
    assert f"{url} cannot be reached" in str(error)


def test_a_name_that_does_not_exist(caller: Caller) -> None:
    assert type(caller.read("http://no-such-host.invalid:1").error) is ServerUnavailableError


def test_connecting_takes_no_longer_than_it_may(caller: Caller) -> None:
    """Less than a second is kept too."""
    with deaf_address() as url:
        begin = time.monotonic()
        error = caller.read(url, connection=Connection(connect_timeout_s=0.2)).error
        assert 0.15 < time.monotonic() - begin < 0.2 + QUICK_S
    assert type(error) is RequestTimeoutError
    assert error.phase == "connect"


def test_a_proxy_of_the_environment_is_not_used(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(two_events) as there, refusing_address() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        assert caller.read(there.url).texts == ["a", "b"]


def answers(status: str, body: bytes) -> Any:
    return answers_with(status, "text/plain", body)


def answers_with(status: str, content_type: str, body: bytes) -> Any:
    def handle(connection: PeerConnection) -> None:
        while connection.request():
            connection.send(answer(status, content_type, body))

    return handle


def test_health(caller: Caller) -> None:
    with peer(answers("200 OK", b"")) as there:
        assert caller.ask(there.url, "is_live", {"x-key": "1"}, 5.0) is True
        assert caller.ask(there.url, "is_ready", "ensemble", {}, 5.0) is True
        assert caller.ask(there.url, "is_ready", "", {}, 5.0) is True
    assert [first.split()[1] for first, _, _ in there.requests] == [
        "/v2/health/live", "/v2/models/ensemble/ready", "/v2/health/ready",
    ]  # fmt: skip
    assert there.requests[0][1]["x-key"] == "1"
    with peer(answers("400 Bad Request", b'{"error": "Model version not ready"}')) as there:
        assert caller.ask(there.url, "is_live", {}, 5.0) is False
        assert caller.ask(there.url, "is_ready", "ensemble", {}, 5.0) is False
    with peer(answers("403 Forbidden", b'{"error": "restricted"}')) as there, pytest.raises(AuthenticationError):
        caller.ask(there.url, "is_live", {}, 5.0)


def test_metadata(caller: Caller) -> None:
    known = {"name": "triton", "version": "2.51.0", "extensions": ["logging"]}
    with peer(answers("200 OK", json.dumps(known).encode())) as there:
        assert caller.ask(there.url, "metadata", {}, 5.0) == {**known, "parameters": {}}


@pytest.mark.parametrize(("method", "first"), [("is_live", ()), ("is_ready", ("ensemble",)), ("metadata", ())])
def test_questions_take_no_longer_than_they_may(caller: Caller, method: str, first: tuple[str, ...]) -> None:
    with peer(PeerConnection.wait_for_end) as there:
        begin = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            caller.ask(there.url, method, *first, {}, 0.2)
        assert time.monotonic() - begin < 0.2 + QUICK_S
    with refusing_address() as url, pytest.raises(ServerUnavailableError):
        caller.ask(url, method, *first, {}, 5.0)
    with deaf_address() as url, pytest.raises(RequestTimeoutError):
        caller.ask(url, method, *first, {}, 0.2)


def test_what_a_call_ends_with(caller: Caller) -> None:
    def events(body: str) -> Any:
        return answers_with("200 OK", "text/event-stream", body.encode())

    with peer(events('data: {"finish_reason": ""}\n\n')) as there:
        caller.ask(there.url, "ask", STOP, 5.0)
    closing = events('data: {"error": "The server is shutting down. (UNAVAILABLE)"}\n\n')
    with peer(closing) as there, pytest.raises(ServerUnavailableError, match="shutting down"):
        caller.ask(there.url, "ask", STOP, 5.0)
    with peer(answers("404 Not Found", b'{"error": "unknown model"}')) as there, pytest.raises(ModelNotReadyError):
        caller.ask(there.url, "ask", STOP, 5.0)


STOP = Call("tensorrt_llm", "request-1", {"stop": True}, ("finish_reason",))


def test_a_cancel_says_once_that_it_is_done(caller: Caller) -> None:
    with peer(answers("200 OK", b"")) as there:
        assert caller.post(there.url, STOP, 5.0) == 1
    ((first, _, body),) = there.requests
    assert first == "POST /v2/models/tensorrt_llm/generate_stream HTTP/1.1"
    assert json.loads(body) == {"id": "request-1", "stop": True}


def test_a_cancel_that_fails_is_done_too(caller: Caller) -> None:
    begin = time.monotonic()
    with peer(PeerConnection.wait_for_end) as there:
        assert caller.post(there.url, STOP, 0.2) == 1
    with refusing_address() as url:
        assert caller.post(url, STOP, 5.0) == 1
    with peer(answers("500 Oh", b"<html>")) as there:
        assert caller.post(there.url, STOP, 5.0) == 1
    assert caller.post("http://127.0.0.1:1", Call("m", "1", {}, (), {"x": "\n"}), 5.0) == 1
    assert time.monotonic() - begin < 0.2 + 2 * QUICK_S
