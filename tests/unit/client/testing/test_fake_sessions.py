"""The fake server's sessions: what only a script can bring, and a server without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest

from nemotron_client.testing import FakeServer, Fault, RecordedRequest, ScriptedReply
from tests.robustness.sessions import SessionCaller
from tests.waiting import wait_until

FAULTS = {
    "close": Fault.close(),
    "garbage": Fault.garbage(),
    "stall": Fault.stall(),
    "unauthenticated": Fault.unauthenticated("The token has expired"),
}


def reply_to(request: RecordedRequest) -> ScriptedReply:
    """What the text asks for: an endless one, a refusal, or a fault behind the first words."""
    if request.text == "on":
        return ScriptedReply("on and", endless=True, token_s=0.005)
    if request.text == "full":
        return ScriptedReply(fault=Fault.full())
    return ScriptedReply("It begins", fault=FAULTS.get(request.text))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(reply_to) as server:
        yield server


@pytest.fixture
def session(server: FakeServer) -> Iterator[SessionCaller]:
    with SessionCaller(server.grpc_url.removeprefix("grpc://")) as session:
        session.open()
        yield session


def test_a_request_says_on_which_session_it_came(server: FakeServer, session: SessionCaller) -> None:
    session.ask("one", 5, "Hi")
    session.read_until_ended("one")
    (request,) = server.requests
    assert (request.session, request.outcome) == (session.key, "answered")
    assert request.options == {"max_tokens": 5}


@pytest.mark.parametrize(
    ("fault", "status"),
    [("close", grpc.StatusCode.UNAVAILABLE), ("unauthenticated", grpc.StatusCode.UNAUTHENTICATED)],
)
def test_what_ends_a_connection_ends_the_session(
    server: FakeServer, session: SessionCaller, fault: str, status: grpc.StatusCode
) -> None:
    session.ask("other", 5, "on")
    session.ask("one", 5, fault)
    texts = []
    with pytest.raises(grpc.RpcError) as caught:
        while True:
            texts += [entry.get("content") for entry in session.frame().get("responses", ()) if entry["id"] == "one"]
    assert caught.value.code() is status
    assert texts == ["It", " begins"]
    assert [request.outcome for request in server.requests] == ["", ""]
    wait_until(lambda: not server._in_flight())


def test_garbage_is_none_of_triton_s_messages(session: SessionCaller) -> None:
    session.ask("one", 5, "garbage")
    with pytest.raises(grpc.RpcError, match="Exception deserializing response"):
        session.read_until_ended("one")


def test_a_refused_request_leaves_the_session_as_it_is(session: SessionCaller) -> None:
    session.ask("one", 5, "full")
    session.ask("two", 5, "Hi")
    ended = session.read_until_ended("one", "two")
    assert ended["one"].startswith("in ensemble 'session', This server has 8 requests in flight")
    assert ended["two"] == "stop"


def test_a_stalled_request_is_stopped(server: FakeServer, session: SessionCaller) -> None:
    session.ask("one", 5, "stall")
    while session.frame()["responses"][-1].get("content") != " begins":
        pass
    session.stop("one")
    assert session.read_until_ended("one") == {"one": "cancelled"}
    assert server.cancels == ["one"]


@pytest.mark.parametrize("leave", [SessionCaller.close, lambda session: session.call.cancel()])
def test_a_caller_that_leaves_takes_its_requests_along(
    server: FakeServer, session: SessionCaller, leave: Callable[[SessionCaller], None]
) -> None:
    for name in ("one", "two"):
        session.ask(name, 5, "on")
    wait_until(lambda: server._in_flight() == 2)
    leave(session)
    wait_until(lambda: not server._in_flight())
    assert [request.outcome for request in server.requests] == ["", ""]


def test_a_drain_lets_what_runs_come_to_its_end(server: FakeServer, session: SessionCaller) -> None:
    session.ask("one", 5, "on")
    session.frame()
    with server.draining():
        session.ask("late", 5, "Hi")
        session.stop("one")
        session.say_no_more()
        answers = list(session.answers())  # until the server ends the stream, too
    with SessionCaller(server.grpc_url.removeprefix("grpc://")) as another:
        another.open()
        another.ask("one", 5, "Hi")
        assert another.read_until_ended("one") == {"one": "stop"}
    frames = [answer.frame for answer in answers if answer.frame]
    assert sum("draining" in frame for frame in frames) == 1
    entries = [entry for frame in frames for entry in frame.get("responses", ())]
    assert entries[-1]["finish_reason"] == "cancelled"
    (refusal,) = [answer.error for answer in answers if answer.id == "late"]
    assert "shutting down" in refusal


def test_no_session_begins_in_a_drain(server: FakeServer) -> None:
    refused = pytest.raises(ValueError, match=r"shutting down .* \(UNAVAILABLE\)")
    with server.draining(), SessionCaller(server.grpc_url.removeprefix("grpc://")) as session, refused:
        session.open()


def test_a_server_of_before_has_no_sessions() -> None:
    refusal = "unexpected inference input 'open_session' for model 'tensorrt_llm'"
    with FakeServer("Hi.", sessions=False) as server, SessionCaller(server.grpc_url[len("grpc://") :]) as session:
        with pytest.raises(ValueError, match=refusal):
            session.open()
        session.ask("one", 5, "Hi", "key")
        assert session.answer().error == "Request for unknown model: 'session' is not found"
