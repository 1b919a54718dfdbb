"""Sessions that nobody can break: callers that leave, that do not read, that guess keys, and that come in thousands."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from nemotron_serving.launcher.triton_command import KEEP_ALIVE_MS, KEEP_ALIVE_TIMEOUT_MS
from tests.integration.conftest import ROOT, Server
from tests.robustness.frozen_link import FrozenLink
from tests.robustness.leaving import waiting_call
from tests.robustness.observing import IN_FLIGHT, nothing_left
from tests.robustness.sessions import CHANNEL, Answer, SessionCaller
from tests.waiting import allowed, wait_until

REQUESTS = 50
ENDLESS = 5_000  # tokens: 100 s at 20 ms each
FRAMES = 64  # that may wait to be acknowledged
MOST_SESSIONS = 1024  # that may be open
SESSIONS = "nemotron_sessions"
MISSING = "session: missing, expected the key that the first frame of a session has (INVALID_ARGUMENT)"
ENDED = "This session has ended, or is another server's; open a new one. (UNAVAILABLE)"


@pytest.fixture
def caller(patient_server: Server) -> Iterator[SessionCaller]:
    with SessionCaller(patient_server.grpc_address) as one:
        one.open()
        yield one


# Leaving


def cancelled(server: Server) -> Callable[[], None]:
    """The stream is cancelled, and its connection stays."""
    return asking(server, grpc.insecure_channel(server.grpc_address, CHANNEL)).close


def closed(server: Server) -> Callable[[], None]:
    """The connection is closed."""
    channel = grpc.insecure_channel(server.grpc_address, CHANNEL)
    asking(server, channel)

    def leave() -> None:
        channel.close()

    return leave


def killed(server: Server) -> Callable[[], None]:
    """The caller's process is killed."""
    command = [sys.executable, "-m", "tests.robustness.sessions", server.grpc_address, str(REQUESTS), str(ENDLESS)]
    process = subprocess.Popen(command, cwd=ROOT)

    def leave() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    return leave


def asking(server: Server, channel: grpc.Channel) -> SessionCaller:
    """A session that reads and acknowledges what comes for many requests."""
    caller = SessionCaller(server.grpc_address, channel)
    caller.open()

    def read() -> None:
        with contextlib.suppress(grpc.RpcError):
            caller.read_until_ended("never")

    threading.Thread(target=read).start()
    for number in range(REQUESTS):
        caller.ask(f"{number}", ENDLESS)
    return caller


@pytest.mark.parametrize("leaving", [cancelled, closed, killed])
def test_places_of_a_session_are_free_again(
    patient_server: Server, leaving: Callable[[Server], Callable[[], None]]
) -> None:
    leave = leaving(patient_server)
    try:
        wait_until(lambda: patient_server.metric(IN_FLIGHT) == REQUESTS, 30)
    finally:
        began = time.monotonic()
        leave()
    wait_until(lambda: nothing_left(patient_server), 30)
    assert time.monotonic() - began < allowed(1)


def test_a_connection_that_is_cut_without_a_word_is_found(patient_server: Server) -> None:
    """Both ends think that it is there. All that was asked for by it ends: of a session, of an idle one, of others."""
    link = FrozenLink(patient_server.grpc_url)
    channel = grpc.insecure_channel(link.address, CHANNEL)
    try:
        asking(patient_server, channel)
        idle = SessionCaller(link.address, channel)
        idle.open()
        stream = waiting_call(channel, "ensemble")
        wait_until(lambda: patient_server.metric(IN_FLIGHT) == REQUESTS + 1, 30)
        wait_until(lambda: patient_server.metric(SESSIONS) == 2)
        link.freeze()
        wait_until(
            lambda: nothing_left(patient_server) and patient_server.metric(SESSIONS) == 0,
            (KEEP_ALIVE_MS + KEEP_ALIVE_TIMEOUT_MS) / 1000 + allowed(2),
        )
        stream.cancel()
        idle.close()
    finally:
        link.close()
        channel.close()


# Requests that are none


@pytest.mark.parametrize(
    ("model", "request_id", "values", "error"),
    [
        ("session", "a", {}, MISSING),
        ("session", "a", {"session": ""}, MISSING),
        ("session", "a", {"session": "0" * 32}, ENDED),
        ("session", "a", {"session": "x" * 2**20}, ENDED),
        ("session", "a", {"session": b"\xff"}, "session: not valid UTF-8 (byte 0) (INVALID_ARGUMENT)"),
        ("session", "", {"session": "its own"}, "id: missing, expected one for each request of a session"),
        ("session", "x" * 2**20, {"session": "its own"}, "id: 1048576 characters were given"),
        ("session", "twice", {"session": "its own"}, "id: 'twice' is that of another request of this session"),
        ("ensemble", "a", {"session": "its own"}, "unexpected inference input 'session'"),
        ("tensorrt_llm", "", {"acknowledged": 1}, MISSING),
        ("tensorrt_llm", "", {"acknowledged": 1, "session": "0" * 32}, ENDED),
        ("tensorrt_llm", "a", {"stop": True, "session": ""}, MISSING),
        ("tensorrt_llm", "a", {"stop": True, "acknowledged": 0, "session": "its own"}, "acknowledged: given together"),
        ("tensorrt_llm", "a", {"stop": True, "open_session": True}, "stop: given together with open_session"),
    ],
)
def test_what_is_no_request_of_a_session_is_refused_by_name(
    caller: SessionCaller, model: str, request_id: str, values: dict[str, bool | int | str | bytes], error: str
) -> None:
    """And the session goes on."""
    caller.ask("twice", 20)
    if model != "tensorrt_llm":
        values = {"text_input": "Hi", "max_tokens": 3, **values}
    caller.send(model, request_id, **{name: caller.key if one == "its own" else one for name, one in values.items()})
    (refused,) = [answer for answer in until_refused(caller) if answer.error]
    assert error in refused.error
    assert refused.id == request_id
    caller.ask("b", 3)
    assert caller.read_until_ended("b", "twice") == {"b": "length", "twice": "length"}


def until_refused(caller: SessionCaller) -> Iterator[Answer]:
    for answer in caller.answers():
        yield answer
        if answer.error:
            return
