"""An answer that is wanted now; and every error of the library has the exit status that the help promises."""

from __future__ import annotations

import os
import signal

import pytest

from nemotron_client import (
    AuthenticationError,
    Client,
    ContentDelta,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    ReasoningDelta,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    TlsError,
)
from nemotron_client.chat.answering import Asking, exit_status, finish_status
from nemotron_client.chat.session import Session, Settings, finish_note
from nemotron_client.testing import MockTransport, ScriptedReply

THOUGHTS = "Hm. " * 1000


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ServerError, 1),
        (ServerUnavailableError, 3),
        (TlsError, 3),
        (ModelNotReadyError, 3),
        (InvalidRequestError, 4),
        (AuthenticationError, 4),
        (OverloadedError, 5),
    ],
)
def test_exit_status(kind: type[NemotronError], status: int) -> None:
    assert exit_status(kind("x", request_id="", url="")) == status


def test_a_timeout_can_be_tried_again() -> None:
    assert exit_status(RequestTimeoutError("x", phase="total", request_id="", url="")) == 5


@pytest.mark.parametrize(
    ("reason", "status", "noted"),
    [
        ("stop", 0, False),
        ("tool_calls", 0, False),
        ("length", 0, True),
        ("repetition", 0, True),
        ("timeout", 5, True),
        ("cancelled", 3, True),
    ],
)
def test_finish_reasons(reason: str, status: int, noted: bool) -> None:
    assert finish_status(reason) == status
    assert bool(finish_note(reason)) is noted


def ask(transport: MockTransport, *, on: type[ReasoningDelta | ContentDelta]) -> Asking:
    """Ask, and want the answer now when the first event of a kind comes."""
    session = Session(Settings())
    session.ask("Hi")
    with Client(transport=transport) as client:
        asking = Asking(client, session)
        wanted = False
        for event in asking.events():
            if isinstance(event, on) and not wanted:
                wanted = True
                os.kill(os.getpid(), signal.SIGQUIT)
    return asking


def test_an_answer_that_is_wanted_now_comes_behind_what_was_thought() -> None:
    reply = ScriptedReply("So be it.", reasoning_content=THOUGHTS, token_s=0.01)
    asking = ask(MockTransport(reply), on=ReasoningDelta)
    assert asking.answer.content == "So be it."
    assert 0 < len(asking.answer.reasoning) < len(THOUGHTS)
    assert asking.answer.complete
    assert not asking.interrupted


def test_an_answer_that_comes_already_is_left_alone() -> None:
    asking = ask(MockTransport(ScriptedReply("So be it.", token_s=0.01)), on=ContentDelta)
    assert asking.answer.content == "So be it."
    assert asking.answer.complete
