"""Odd requests in their thousands, with good ones among them, and what came of it.

A request is made from the seed and its number alone, so that the same seed sends the same requests in the same order;
several are under way at the same time, and which ones depends on the machine.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

import grpc
from tritonclient.grpc import service_pb2 as pb

from tests.integration.conftest import Server
from tests.robustness.good_requests import GoodRequests
from tests.robustness.observing import is_alive, log_of, nothing_left, overgrown, processes, shared_memory, usage
from tests.robustness.odd_grpc import STREAM, GrpcCall, odd_grpc_call
from tests.robustness.odd_http import HttpRequest, odd_http_request
from tests.robustness.odd_values import MARK
from tests.robustness.sessions import SessionCaller
from tests.waiting import wait_until

PATIENCE_S = 60.0
"""A request whose caller waits has to be answered by then: each takes some seconds at the most."""
MOST_SHARED_MEMORY = 256 * 2**20
"""Triton's pools grow by the largest messages under way, and stay as large."""
_AT_ONCE = 8
_REMEMBERED = 1000
_CALLS_A_CHANNEL = 500
_PRIVATE = re.compile(r"Traceback|File \"|\.py\b|/tmp/|/home/|/root/|/usr/|site-packages|nemotron-serve-|/dev/shm")
_STATUS_AT_END = re.compile(r"\((INVALID_ARGUMENT|UNAVAILABLE|INTERNAL)\)$")
_SCRIPTED = "The script fails after"  # what [sim:fail] asks for
# What Triton says of a model whose code has raised, or whose process is gone. All else without a status is a refusal of
# Triton's own, of which it has hundreds; what our models say goes through one function, which adds the status.
_UNCAUGHT = re.compile(r"[Ff]ailed to process the request|Stub process|not healthy|unhealthy")


@dataclass
class Findings:
    """What came of it.

    Attributes:
        sent: Odd requests, by how they ended: `answered`, a status, `left`, `closed`.
        problems: What should not be, with the number of its request, the request and the answer; one of each kind.
        good: Good requests that were sent meanwhile.
        good_right: Those of them that were answered right.
        died: The process that died or was replaced meanwhile; empty if all live.
        last: Numbers of the requests that began last, before a process died.
        seconds: How long it took.
    """

    sent: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: dict[str, str] = field(default_factory=dict)
    good: int = 0
    good_right: int = 0
    died: str = ""
    last: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.sent.values())


def fuzz_and_check(server: Server, seed: int, seconds: float, requests: int | None = None) -> Findings:
    """Send odd requests, and fail unless the server has answered the good ones among them and is as it was before."""
    before = usage(server)
    found = Fuzz(server, seed).run(seconds, requests)
    told = f"seed {seed}, {found.requests} requests: {dict(found.sent)}"
    problems = "\n".join(found.problems.values())
    assert not found.died, (
        f"{told}\n{found.died} died; among these is the cause: {found.last}\n{log_of(server)[-3000:]}"
    )
    assert not problems, f"{told}\n{problems}"
    assert found.good_right == found.good > 0, told
    wait_until(lambda: nothing_left(server), PATIENCE_S)
    assert server.info["restarts"] == 0, told
    with contextlib.suppress(AssertionError):  # connections that were left are closed a moment later
        wait_until(lambda: not overgrown(before, usage(server), found.requests), 10)
    assert not (grown := overgrown(before, usage(server), found.requests)), f"{told}\n{grown}"
    assert sum(shared_memory(server).values()) < MOST_SHARED_MEMORY, told
    log = log_of(server)
    assert "Traceback" not in log, f"{told}\n{log[log.index('Traceback') - 300 :][:3000]}"
    assert MARK not in log, told
    return found


class Fuzz:
    """Sends odd requests to a server until a time is over or so many are sent.

    Args:
        server: Runs, and may be disturbed.
        seed: Of the requests.
        first: Number of the first request.
        step: From one request's number to the next: with 2, two processes share one sequence.
    """

    def __init__(self, server: Server, seed: int, first: int = 0, step: int = 1) -> None:
        self._grpc = server.grpc_address
        address = urlsplit(server.http_url)
        self._processes = processes(server)
        self._http = (str(address.hostname), int(address.port or 0))
        self._good = GoodRequests(server)
        self._session = KeptSession(server)
        self._seed = seed
        self._numbers = itertools.count(first, step)
        self._begun: collections.deque[int] = collections.deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.findings = Findings()

    def run(self, seconds: float, requests: int | None = None) -> Findings:
        """Send them; returns what was found. Ends early at a lost server, for all else would be lost as well."""
        began = time.monotonic()
        self._most = requests
        threads = [threading.Thread(target=self._send_many, name=f"fuzz-{n}") for n in range(_AT_ONCE)]
        good = threading.Thread(target=self._ask, name="good")
        for thread in (*threads, good):
            thread.start()
        while time.monotonic() < began + seconds and any(thread.is_alive() for thread in threads) and not self._died():
            time.sleep(0.02)
        self._ended.set()
        for thread in (*threads, good):
            thread.join()
        self._died()
        self._good.close()
        for error in self._session.close():
            if _is_wrong(error):
                self.findings.problems.setdefault(_template(error), f"in a frame: {error}")
        self.findings.seconds = time.monotonic() - began
        return self.findings

    def _died(self) -> bool:
        """Whether a process is gone. What began last is remembered, for one of these has ended it."""
        dead = [name for name, process in self._processes.items() if not is_alive(process)]
        if dead and not self.findings.died:
            self.findings.died, self.findings.last = ", ".join(dead), list(self._begun)
        return bool(dead)

    def made(self, number: int) -> GrpcCall | HttpRequest:
        """The request of this number, with `KEY` in place of a key."""
        rng = random.Random(f"{self._seed}/{number}")
        return odd_grpc_call(rng) if rng.random() < 0.6 else odd_http_request(rng)

    def _send_many(self) -> None:
        for numbers in iter(lambda: list(self._next_numbers(_CALLS_A_CHANNEL)), []):
            with grpc.insecure_channel(self._grpc, _CHANNEL) as channel:
                for number in numbers:
                    if self._ended.is_set():
                        return
                    self._send(channel, number)

    def _next_numbers(self, count: int) -> Iterator[int]:
        """Numbers for a thread, a few at a time."""
        with self._lock:
            for _ in range(count):
                if self._most is not None and self._most <= 0:
                    return
                if self._most is not None:
                    self._most -= 1
                yield next(self._numbers)

    def _send(self, channel: grpc.Channel, number: int) -> None:
        made = self.made(number).on_session(self._session.key)
        self._begun.append(number)
        began = time.monotonic()
        try:
            if isinstance(made, GrpcCall):
                end, messages = _call(channel, made)
            else:
                end, messages = _exchange(self._http, made)
        except TimeoutError:
            end, messages = "hung", []
        problems = [f"hung for {time.monotonic() - began:.0f} s"] if end == "hung" and made.patient else []
        problems += [message for message in messages if _is_wrong(message)]
        with self._lock:
            self.findings.sent[end] += 1
            for problem in problems:
                what = f"request {number} of seed {self._seed}: {problem}\n  {made}"
                self.findings.problems.setdefault(_template(problem), what)

    def _ask(self) -> None:
        while not self._ended.is_set():
            wrong = self._good.ask()
            self.findings.good += 1
            self.findings.good_right += not wrong
            if wrong:
                with self._lock:
                    self.findings.problems.setdefault(_template(wrong), f"a good request: {wrong}")
            self._ended.wait(0.02)


class KeptSession:
    """A session that reads and acknowledges what comes for the requests that others make on it.

    Args:
        server: Where it is; another one takes its place there when it ends.

    Attributes:
        key: Of the one that is open.
    """

    def __init__(self, server: Server) -> None:
        self._address = server.grpc_address
        self._errors: list[str] = []
        self._closed = False
        self._open()
        self._thread = threading.Thread(target=self._read, name="session")
        self._thread.start()

    def close(self) -> list[str]:
        """End it. Returns the errors that its requests had, and its own."""
        self._closed = True
        self._caller.close()
        self._thread.join()
        return self._errors

    def _open(self) -> None:
        self._caller = SessionCaller(self._address)
        self.key = self._caller.open()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):  # it was closed, or the server is lost, which others see
            while not self._read_one():
                self._caller.close()
                self._open()

    def _read_one(self) -> bool:
        """Read what comes, until another one is to be opened, or none."""
        for answer in self._caller.answers():
            if answer.frame is None:
                self._errors.append(answer.error)
                break
            self._caller.acknowledge(answer.frame["frame"])
            self._errors += [one["error"] for one in answer.frame.get("responses", ()) if "error" in one]
            if "draining" in answer.frame:
                break
        return self._closed


_CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


def _call(channel: grpc.Channel, call: GrpcCall) -> tuple[str, list[str]]:
    """Send one call: how it ended, and the error messages."""
    options = {"timeout": call.timeout_s, "metadata": call.metadata, "compression": call.compression}
    messages: list[str] = []
    if call.method == STREAM:
        responses = channel.stream_stream(call.path)(iter(call.messages), **options)
    else:
        responses = channel.unary_stream(call.path)(call.messages[0], **options)
    leaving = threading.Timer(call.cancel_after_s, responses.cancel) if call.cancel_after_s is not None else None
    if leaving:
        leaving.start()
    end = "answered"
    try:
        for response in responses:
            if call.method == STREAM and (message := pb.ModelStreamInferResponse.FromString(response).error_message):
                messages.append(message)
                end = "refused"
    except grpc.RpcError as error:
        end = error.code().name
        messages.append(error.details() or "")
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ("hung" if call.patient else "left"), []
        if error.code() is grpc.StatusCode.CANCELLED:
            return "left", []
    finally:
        if leaving:
            leaving.cancel()
    return end, messages


def _exchange(address: tuple[str, int], request: HttpRequest) -> tuple[str, list[str]]:
    """Send one request on a connection of its own: how it ended, and the error messages."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        with contextlib.suppress(ConnectionError):  # it may close before it has read everything
            connection.sendall(request.sent)
        if request.leaves_after_s is not None:
            time.sleep(request.leaves_after_s)
            return "left", []
        if not request.complete:
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.recv(1000)
            return "left", []
        response = HTTPResponse(connection, method=request.sent.split(b" ", 1)[0].decode())
        try:
            response.begin()
            body = response.read()
        except (HTTPException, ConnectionError):
            return "closed", []
    if response.status == 200:
        return "200", _errors_of_events(body)
    return str(response.status), [_error_of(body)]


def _errors_of_events(body: bytes) -> list[str]:
    """Errors among the events of an answer of /generate_stream, whose status is 200 all the same."""
    return [_error_of(line) for line in body.splitlines() if line.startswith(b'data: {"error"')]


def _error_of(body: bytes) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body.removeprefix(b"data: "))["error"])
    return body.decode(errors="replace")


def _is_wrong(message: str) -> bool:
    """Whether a caller should not read this: it has no status, it shows how things are here, or our side failed."""
    if _PRIVATE.search(message):
        return True
    if not _STATUS_AT_END.search(message):
        return bool(_UNCAUGHT.search(message))
    return message.endswith("(INTERNAL)") and _SCRIPTED not in message


def _template(message: str) -> str:
    """A message without what differs from one request to the next."""
    return re.sub(
        r"\d+", "0", re.sub(r"'[^']*'", "'…'", re.sub(r"\[request id: [^\]]*\]", "[request id: …]", message))
    )[:160]
