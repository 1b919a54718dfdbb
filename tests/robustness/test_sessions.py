"""Sessions that nobody can break: callers that leave, that do not read, that guess keys, and that come in thousands."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc as services

from nemotron_serving.launcher.triton_command import KEEP_ALIVE_MS, KEEP_ALIVE_TIMEOUT_MS
from tests.integration.conftest import ROOT, Server
from tests.robustness.frozen_link import FrozenLink
from tests.robustness.good_requests import GoodRequests
from tests.robustness.leaving import waiting_call
from tests.robustness.observing import IN_FLIGHT, answers, log_of, nothing_left, overgrown, usage
from tests.robustness.sessions import CHANNEL, Answer, SessionCaller, request_of
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


def test_sessions_that_come_and_go_leave_nothing(patient_server: Server) -> None:
    """Each with requests that end, are stopped, or are left at any moment."""
    with ThreadPoolExecutor(8) as callers:
        for ended in callers.map(lambda number: come_and_go(patient_server, random.Random(number)), range(160)):
            assert ended <= {"length", "stop", "cancelled"}
    wait_until(lambda: nothing_left(patient_server) and patient_server.metric(SESSIONS) == 0, 30)
    assert "Traceback" not in log_of(patient_server)


def come_and_go(server: Server, rng: random.Random) -> set[str]:
    """How the requests ended that were not left."""
    with SessionCaller(server.grpc_address) as caller:
        caller.open()
        names = [f"{number}" for number in range(rng.choice((1, 3, 10)))]
        for name in names:
            caller.ask(name, rng.choice((1, 3, 10, ENDLESS)))
            if rng.random() < 0.3:
                caller.stop(rng.choice(names))  # also before it is asked for
        leaving = threading.Timer(rng.random() / 3, caller.call.cancel)
        leaving.start()
        try:
            return set(caller.read_until_ended(*names).values())
        except grpc.RpcError:
            return set()
        finally:
            leaving.cancel()


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


# Keys


def test_only_the_key_reaches_a_session(patient_server: Server, caller: SessionCaller) -> None:
    """A guess reaches nothing, and the key of a session that has ended does neither."""
    with SessionCaller(patient_server.grpc_address) as other:
        other.open()
        caller.ask("a", ENDLESS)
        guesses = ("0" * 32, caller.key[:-1], caller.key.upper() + " ", "*")
        for guess in guesses:
            other.ask("a", 3, key=guess)
            other.stop("a", key=guess)
            other.acknowledge(1, key=guess)
        other.stop("a")  # of its own, which has none
        refusals = [answer.error for answer in itertools.islice(other.answers(), 3 * len(guesses) + 1) if answer.error]
        assert len(refusals) == 3 * len(guesses)
        assert all(refusal.endswith(ENDED) for refusal in refusals)
        caller.stop("a")
        assert caller.read_until_ended("a") == {"a": "cancelled"}

        # Whoever has the key has the session; what it asks is answered where the session was opened.
        other.ask("b", 3, key=caller.key)
        assert other.answer().outputs == ("num_input_tokens",)
        assert caller.read_until_ended("b") == {"b": "length"}

        key = other.key

    def refused() -> bool:
        caller.ask("c", 3, key=key)
        return caller.answer().error.endswith(ENDED)

    wait_until(refused)


# Readers


def test_a_session_that_acknowledges_nothing_slows_itself_alone(patient_server: Server, caller: SessionCaller) -> None:
    """Its frames are as many as may wait, whatever it has asked for, and nobody else waits for it."""
    before = usage(patient_server)
    with SessionCaller(patient_server.grpc_address) as silent:
        silent.open()
        for session in (silent, caller):
            for number in range(20):
                session.ask(f"{number}", ENDLESS)
        while caller.frame()["frame"] < FRAMES + 8:  # so the other would have had as many
            caller.acknowledge(FRAMES + 8)
        good = GoodRequests(patient_server)
        assert [good.ask() for _ in range(8)] == [""] * 8
        good.close()
        silent.send("session", text_input="Hi", max_tokens=1, session=silent.key)  # which is refused at once
        frames = [answer.frame for answer in until_refused(silent) if answer.frame]
        assert frames[-1]["frame"] == FRAMES - 1
        silent.acknowledge(FRAMES - 1)
        assert silent.frame()["frame"] == FRAMES
    assert not overgrown(before, usage(patient_server), 0)


# Very many


def test_sessions_in_their_thousands_are_bounded_and_keep_nobody_waiting(patient_server: Server) -> None:
    """On one stream, and on many connections."""
    before = usage(patient_server)
    with SessionCaller(patient_server.grpc_address) as first, contextlib.ExitStack() as stack:
        for _ in range(2000):
            first.send("tensorrt_llm", open_session=True)
        opened = list(itertools.islice(first.answers(), 2000))
        assert sum(answer.frame is not None for answer in opened) == MOST_SESSIONS
        others = [stack.enter_context(SessionCaller(patient_server.grpc_address)) for _ in range(50)]
        for other in others:
            other.send("tensorrt_llm", open_session=True)
        refusals = [answer.error for answer in (*opened, *(one.answer() for one in others)) if not answer.frame]
        assert len(refusals) == 2050 - MOST_SESSIONS
        assert set(refusals) == {
            f"This server has {MOST_SESSIONS} sessions, which is its limit; try again later. (UNAVAILABLE)"
        }
        assert answers(patient_server)
    wait_until(lambda: patient_server.metric(SESSIONS) == 0)
    with SessionCaller(patient_server.grpc_address) as later:
        assert later.open()
    wait_until(lambda: not overgrown(before, usage(patient_server), 2050))


def test_a_thousand_acknowledgements_of_anything_do_no_harm(caller: SessionCaller) -> None:
    for number in (0, 1, -1, 10**6, 2**31 - 1, -(2**31)) * 200:
        caller.acknowledge(number)
    caller.ask("a", 100)
    assert caller.read_until_ended("a") == {"a": "length"}


# HTTP


def test_a_session_over_http_works_and_ends_with_its_connection(patient_server: Server) -> None:
    """It is meant for nobody, and harms nobody: Triton has the same models there."""
    address = urlsplit(patient_server.http_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    connection.request("POST", "/v2/models/tensorrt_llm/generate_stream", '{"open_session": true}')
    response = connection.getresponse()

    def frame() -> Any:
        line = response.readline()
        assert response.readline() == b"\n"
        return json.loads(json.loads(line.removeprefix(b"data: "))["frame"])

    asked = {
        "id": "a",
        "session": frame()["session"],
        "text_input": "[sim:random]",
        "max_tokens": ENDLESS,
        "stream": True,
    }
    assert patient_server.post("/v2/models/session/generate", asked)[0] == 200
    assert frame()["responses"][0]["id"] == "a"
    status, body = patient_server.post("/v2/models/session/generate", asked | {"session": "0" * 32})
    assert status == 400
    assert ENDED in body
    response.close()
    connection.close()
    wait_until(lambda: patient_server.metric(IN_FLIGHT) == patient_server.metric(SESSIONS) == 0)


def test_a_session_takes_a_stream(patient_server: Server) -> None:
    with grpc.insecure_channel(patient_server.grpc_address, CHANNEL) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        for request in (request_of("tensorrt_llm", open_session=True), request_of("session", "a", session="a")):
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                stub.ModelInfer(request, timeout=60)
