"""The fake server's sessions against the real one's, by hand: the same answers to the same requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nemotron_client._contract import TOTALS
from nemotron_client.testing import FakeServer, Fault, RecordedRequest, ScriptedReply
from tests.integration.conftest import Server
from tests.robustness.sessions import Answer, SessionCaller

WINDOW = 64  # frames
FAILURE = "The script fails after 12 tokens."
Sessions = tuple[SessionCaller, SessionCaller]


def fake_answer(request: RecordedRequest) -> ScriptedReply:
    if "random" in request.text:
        return ScriptedReply("on and", endless=True, token_s=0.005)
    if "fail" in request.text:
        return ScriptedReply("It begins", fault=Fault.internal(FAILURE))
    return ScriptedReply("An answer.")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer(fake_answer) as server:
        yield server


@pytest.fixture
def sessions(roomy_server: Server, fake: FakeServer) -> Iterator[Sessions]:
    """One of each, open: of the real server and of the fake."""
    addresses = roomy_server.grpc_address, fake.grpc_url.removeprefix("grpc://")
    with SessionCaller(addresses[0]) as real, SessionCaller(addresses[1]) as faked:
        for session in (real, faked):
            session.open()
        yield real, faked


def answer_to(caller: SessionCaller, model: str, name: str, **values: Any) -> Answer:
    """The first answer with this id, frames apart."""
    caller.send(model, name, **values)
    return next(answer for answer in caller.answers() if answer.id == name and answer.frame is None)


def heard_of(session: SessionCaller, name: str) -> tuple[list[tuple[str, ...]], list[dict[str, Any]]]:
    """The outputs of the answers to a request, and what the frames say of it, until it ends."""
    outputs, entries = [], []
    for answer in session.answers():
        if answer.id == name:
            outputs.append(answer.outputs)
        if answer.frame is not None:
            session.acknowledge(answer.frame["frame"])
            entries += [entry for entry in answer.frame.get("responses", ()) if entry["id"] == name]
        if outputs and entries and (entries[-1].get("finish_reason") or "error" in entries[-1]):
            break
    return outputs, entries


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("session", {"text_input": "Hi"}),
        ("session", {"text_input": "Hi", "session": ""}),
        ("session", {"text_input": "Hi", "session": "0" * 32}),
        ("session", {"text_input": "Hi", "session": "KEY", "foo": 1}),
        ("session", {"session": "KEY", "thinking": True}),
        ("session", {"session": "KEY", "messages": "[]"}),
        ("session", {"session": "KEY", "text_input": "Hi", "messages": "[]"}),
        ("tensorrt_llm", {"acknowledged": 0}),
        ("tensorrt_llm", {"acknowledged": 0, "session": ""}),
        ("tensorrt_llm", {"acknowledged": 0, "session": "0" * 32}),
        ("tensorrt_llm", {"acknowledged": "0", "session": "KEY"}),
        ("tensorrt_llm", {"stop": True, "session": ""}),
        ("tensorrt_llm", {"stop": True, "session": "0" * 32}),
        ("tensorrt_llm", {"stop": True, "open_session": True}),
        ("tensorrt_llm", {"open_session": False}),
        ("tensorrt_llm", {"open_session": "yes"}),
    ],
)
def test_what_is_wrong_is_refused_alike(sessions: Sessions, model: str, values: dict[str, Any]) -> None:
    told = []
    for session in sessions:
        asked = {name: session.key if value == "KEY" else value for name, value in values.items()}
        told.append(answer_to(session, model, "mine", **asked).error.partition(". NOTE")[0])
    assert told[0] == told[1]
    assert told[0]


def test_a_request_has_an_id_of_its_own(sessions: Sessions) -> None:
    told = []
    for session in sessions:
        session.ask("twice", 1000)
        answer_to(session, "tensorrt_llm", "running", stop=True, session=session.key)
        again = answer_to(session, "session", "twice", text_input="Hi", session=session.key)
        while not again.error:  # that of the first may come as the second
            again = next(answer for answer in session.answers() if answer.id == "twice")
        none = answer_to(session, "session", "", text_input="Hi", session=session.key)
        told.append((again.error, none.error))
    assert told[0] == told[1]


def test_a_request_is_accepted_and_answered_in_frames(sessions: Sessions) -> None:
    told = []
    for session in sessions:
        session.ask("one", 5, "Hi")
        outputs, entries = heard_of(session, "one")
        assert all(entry.keys() >= set(TOTALS) for entry in entries)
        assert not any(value == "" for entry in entries for value in entry.values())
        told.append((outputs, {name for entry in entries for name in entry}))
    assert told[0] == told[1]
    assert told[0][0] == [("num_input_tokens",)]


def test_a_failure_is_an_entry(sessions: Sessions) -> None:
    told = []
    for session in sessions:
        session.ask("one", 100, "[sim:fail]")
        _, entries = heard_of(session, "one")
        assert "content" in entries[0]
        told.append(entries[-1])
    assert told[0] == told[1]


def test_a_stop_reaches_its_own_session_s_request(sessions: Sessions, roomy_server: Server, fake: FakeServer) -> None:
    addresses = roomy_server.grpc_address, fake.grpc_url.removeprefix("grpc://")
    told = []
    for session, address in zip(sessions, addresses, strict=True):
        session.ask("mine", 10_000)
        with SessionCaller(address) as other:
            other.open()
            foreign = answer_to(other, "tensorrt_llm", "mine", stop=True, session=other.key)
        session.stop("mine")
        _, entries = heard_of(session, "mine")
        told.append((foreign.error, foreign.outputs, entries[-1]["finish_reason"]))
    assert told[0] == told[1] == ("", ("finish_reason",), "cancelled")


def test_a_stop_without_a_key_reaches_it_too(sessions: Sessions) -> None:
    for session in sessions:
        session.ask("anybody's", 10_000)
        session.send("tensorrt_llm", "anybody's", stop=True)
        _, entries = heard_of(session, "anybody's")
        assert entries[-1]["finish_reason"] == "cancelled"


def test_frames_that_nobody_acknowledges_are_a_window(sessions: Sessions) -> None:
    for session in sessions:
        for number in range(1, WINDOW):  # the first frame counts as one
            session.send("session", f"{number}", text_input="Hi", max_tokens=1, session=session.key)
            assert session.frame()["frame"] == number
        accepted = answer_to(session, "session", "waits", text_input="Hi", max_tokens=1, session=session.key)
        assert accepted.error == ""
        session.send("ensemble", "longer", text_input="Hi", max_tokens=20)
        assert next(session.answers()).id == "longer"
        session.acknowledge(0)
        assert session.frame()["responses"][-1]["finish_reason"] in ("length", "stop")


def test_one_stream_has_any_number_of_sessions_and_other_requests(sessions: Sessions) -> None:
    told = []
    for session in sessions:
        first = session.key
        assert session.open() != first
        session.send("tensorrt_llm", "", acknowledged=0, session=first)
        told.append(answer_to(session, "ensemble", "plain", text_input="Hi", max_tokens=1).outputs)
    assert set(told[0]) == set(told[1])
