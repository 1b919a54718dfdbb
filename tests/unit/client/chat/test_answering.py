"""Every error of the library has the exit status that the help promises."""

from __future__ import annotations

import pytest

from nemotron_client import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    TlsError,
)
from nemotron_client.chat.answering import exit_status, finish_status
from nemotron_client.chat.session import finish_note


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
