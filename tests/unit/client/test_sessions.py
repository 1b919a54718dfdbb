"""Requests of a client that ride on sessions, and those that do not: both clients, and the fake server."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_client import Client, InvalidRequestError, OverloadedError, ServerUnavailableError, StreamClosedError
from nemotron_client.testing import FakeServer, Fault, RecordedRequest, ScriptedReply
from tests.integration.client.conftest import Connect, Driven, connecting
from tests.waiting import wait_until


def reply_to(request: RecordedRequest) -> ScriptedReply:
    """What the text asks for."""
    if request.text.startswith("on"):
        return ScriptedReply(f"{request.text} and", endless=True, token_s=0.005)
    if request.text == "fail":
        return ScriptedReply("It begins", fault=Fault.internal("Out of memory."))
    if request.text == "close":
        return ScriptedReply("It begins", fault=Fault.close())
    return ScriptedReply(f"You say {request.text}", token_s=0.002)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(reply_to) as server:
        yield server


@pytest.fixture(params=[Client, Driven], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with connecting(request.param) as (connect,):
        yield connect


def sessions_of(server: FakeServer) -> list[str]:
    """The session of each request, in order; empty for one that came by itself."""
    return [request.session for request in server.requests]


def begun(client: Any, text: str = "on", **options: Any) -> Any:
    stream = client.stream_chat(user(text), **options)
    next(stream)
    return stream


def test_all_requests_ride_on_one_session(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url)
    streams = [begun(client) for _ in range(5)]
    assert client.chat(user("Hi")).content == "You say Hi"
    for stream in streams:
        stream.close()
    assert client.with_options(max_retries=0).chat(user("you")).content == "You say you"
    (session,) = set(sessions_of(server))
    assert session
    wait_until(lambda: server.cancels and not server._in_flight())
    assert sorted(server.cancels) == sorted(stream.request_id for stream in streams), "one stop for each"


def test_without_sessions_each_request_comes_by_itself(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url, sessions=0)
    with begun(client):
        assert client.chat(user("Hi")).content == "You say Hi"
    assert sessions_of(server) == ["", ""]


def test_several_sessions_share_the_requests(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url, sessions=3)
    streams = [begun(client) for _ in range(9)]
    ridden = sessions_of(server)
    assert sorted(ridden.count(session) for session in set(ridden)) == [3, 3, 3]
    for stream in streams:
        stream.close()
    assert client.chat(user("Hi")).content == "You say Hi"
    assert len(set(sessions_of(server))) == 3


def test_a_burst_is_shared_among_sessions_that_open_one_after_another(server: FakeServer, connect: Connect) -> None:
    """None is over before all of them are asked, or the session that it leaves would have fewer."""
    client = connect(server.grpc_url, sessions=4)
    streams = [client.stream_chat(user(f"on{number}")) for number in range(12)]
    assert [next(stream).text.strip() for stream in streams] == [f"on{number}" for number in range(12)]
    ridden = sessions_of(server)
    assert sorted(ridden.count(session) for session in set(ridden)) == [3, 3, 3, 3]


def test_an_old_session_takes_no_more_requests_and_cuts_none(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url, session_max_age_s=0.2)
    stream = begun(client)
    time.sleep(0.25)  # its age
    assert client.chat(user("Hi")).content == "You say Hi"
    first, second = sessions_of(server)
    assert first and second and first != second
    for _ in range(20):
        next(stream)
    client.cancel(stream.request_id)
    assert stream.get_final().finish_reason == "cancelled"


def test_headers_and_compression_belong_to_a_session(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url)
    for number in (1, 2, 1):
        client.with_options(headers={"tenant": f"{number}"}).chat(user("Hi"))
    client.with_options(compression="gzip").chat(user("Hi"))
    one, two, again, other = sessions_of(server)
    assert one == again and len({one, two, other}) == 3
    assert [request.headers["tenant"] for request in server.requests[:3]] == ["1", "2", "1"]


def test_a_trace_changes_no_session(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url)
    for number in range(2):
        traced = client.with_options(headers={"traceparent": f"00-{number:032}-{number:016}-01", "tracestate": "a=1"})
        traced.chat(user("Hi"))
    assert len(set(sessions_of(server))) == 1


def test_headers_that_are_new_each_time_open_few_sessions(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url)
    for number in range(12):
        assert client.with_options(headers={"x-request": f"{number}"}).chat(user("Hi")).content == "You say Hi"
    ridden = [session for session in sessions_of(server) if session]
    assert 0 < len(ridden) == len(set(ridden)) < 8
    assert [request.headers["x-request"] for request in server.requests] == [f"{number}" for number in range(12)]


def test_one_name_for_two_requests_at_once(server: FakeServer, connect: Connect) -> None:
    """Only one of them can ride; both are answered, as without sessions, and a stop means both."""
    client = connect(server.grpc_url)
    streams = [begun(client, request_id="twice") for _ in range(2)]
    assert [bool(session) for session in sessions_of(server)] == [True, False]
    connect(server.grpc_url).cancel("twice")
    assert [stream.get_final().finish_reason for stream in streams] == ["cancelled"] * 2


def test_a_refused_request_and_one_that_fails_leave_the_others(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url, max_retries=0)
    with begun(client) as stream:
        with pytest.raises(InvalidRequestError, match="messages"):
            client.chat([])
        stopped = begun(client, "fail")
        with pytest.raises(Exception, match=r"Out of memory\.") as caught:
            list(stopped)
        assert caught.value.request_id == stopped.request_id  # type: ignore[attr-defined]
        with pytest.raises(OverflowError):
            client.chat(user("Hi"), temperature=1e300)
        next(stream)
    assert len(set(sessions_of(server))) == 1


def test_a_session_that_is_lost_is_made_again(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url, max_retries=0)
    stream = begun(client)
    with pytest.raises(ServerUnavailableError):
        client.chat(user("close"))
    with pytest.raises(ServerUnavailableError) as caught:
        list(stream)
    assert (caught.value.request_id, caught.value.url) == (stream.request_id, server.grpc_url)
    assert client.chat(user("Hi")).content == "You say Hi"
    first, _, last = sessions_of(server)
    assert first and last and first != last


def test_a_drain_cuts_nothing_and_the_next_request_finds_another_session(server: FakeServer, connect: Connect) -> None:
    client = connect(server.grpc_url, max_retries=0)
    stream = begun(client)
    with server.draining():
        wait_until(lambda: _refused(client))
        for _ in range(10):
            next(stream)
        client.cancel(stream.request_id)
        assert stream.get_final().finish_reason == "cancelled"
    assert client.chat(user("Hi")).content == "You say Hi"
    assert sessions_of(server)[0] != sessions_of(server)[-1] != ""


def _refused(client: Any) -> bool:
    try:
        client.chat(user("Hi"))
    except (OverloadedError, ServerUnavailableError):
        return True
    return False


def test_a_server_without_sessions_is_asked_without(connect: Connect) -> None:
    with FakeServer(reply_to, sessions=False) as before:
        client = connect(before.grpc_url)
        streams = [client.stream_chat(user(f"{number}")) for number in range(3)]
        assert [stream.get_final().content for stream in streams] == ["You say 0", "You say 1", "You say 2"]
        with begun(client):
            pass
        assert sessions_of(before) == [""] * 4
        wait_until(lambda: len(before.cancels) == 1)


def test_a_stream_that_nobody_reads_does_not_stop_the_others(server: FakeServer, connect: Connect) -> None:
    """More comes for it than frames may be unread at the server."""
    client = connect(server.grpc_url)
    unread = begun(client)
    with begun(client) as stream:
        for _ in range(200):
            next(stream)
    client.cancel(unread.request_id)
    reply = unread.get_final()
    assert reply.finish_reason == "cancelled"
    assert reply.content.count("on and") > 64


def test_a_stream_that_was_left_gives_nothing_that_had_come(server: FakeServer, connect: Connect) -> None:
    stream = begun(connect(server.grpc_url))
    wait_until(lambda: server._in_flight() == 1)
    stream.close()
    with pytest.raises(StreamClosedError):
        next(stream)


def test_a_client_that_is_forgotten_ends_its_sessions(server: FakeServer) -> None:
    before = set(threading.enumerate())
    Client(server.grpc_url).chat(user("Hi"))
    gc.collect()
    wait_until(lambda: _threads_of_clients(before) == [])


def _threads_of_clients(before: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in set(threading.enumerate()) - before if "fake" not in thread.name]


@pytest.mark.parametrize(("setting", "value"), [("sessions", -1), ("sessions", 1.5), ("session_max_age_s", 0)])
def test_settings_out_of_range(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{setting}: {value} was given"):
        Client("grpc://127.0.0.1:1", **{setting: value})
