"""Servers that die, hang, lie or are not there: the typed error in time, and nothing left behind."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import Client, NemotronError, RequestTimeoutError, ServerUnavailableError, Timeouts
from tests.integration.client.conftest import ENDLESS, HI, RANDOM, STALL, Connect, Driven, connecting, url_of
from tests.integration.conftest import Server, serving
from tests.integration.test_failures import IN_FLIGHT, nothing_left
from tests.waiting import wait_until

WAYS: dict[str, dict[str, Any]] = {"grpc": {}, "ensemble": {"sessions": 0}, "http": {}}
"""The ways to a server, and the options of a client that goes each."""


@pytest.fixture(scope="module")
def server(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that nothing is done to; 5 ms a token."""
    with serving(simulated_package("--ttft-ms", "20", "--token-ms", "5"), tmp_path_factory.mktemp("steady")) as server:
        yield server


@pytest.fixture(scope="module")
def mortal(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose Triton is killed, and started again by nemotron-serve: after a longer pause each time."""
    options = ("--hang-seconds", "0")  # nothing but these tests sends requests
    with serving(simulated_package("--token-ms", "5"), tmp_path_factory.mktemp("mortal"), *options) as server:
        yield server


@pytest.fixture(
    params=[(Client, {}), (Driven, {}), (Client, {"sessions": 0}), (Driven, {"sessions": 0})],
    ids=["sync", "async", "sync-ensemble", "async-ensemble"],
)
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Clients of both kinds, over gRPC with a session and with a stream for each request."""
    kind, options = request.param
    with connecting(kind) as (connect,):
        yield functools.partial(connect, **options)


@pytest.fixture
def connect_each() -> Iterator[list[Connect]]:
    """For a test whose server dies once for clients of both kinds."""
    with connecting(Client, Driven) as both:
        yield both


def url_to(server: Server, way: str) -> str:
    return url_of(server, "http" if way == "http" else "grpc")


def kill(server: Server) -> None:
    os.kill(server.info["triton_pid"], signal.SIGKILL)


def back_again(server: Server, restarts: int) -> None:
    def restarted() -> bool:
        return server.ready_file.exists() and server.info["restarts"] > restarts

    wait_until(restarted, 30)


def test_a_server_that_is_killed_in_the_middle_and_comes_back(mortal: Server, connect_each: list[Connect]) -> None:
    before = mortal.info
    clients = [connect(url_to(mortal, way), **WAYS[way]) for connect in connect_each for way in WAYS]
    streams = [client.stream_chat(RANDOM, max_tokens=ENDLESS) for client in clients]
    keeping = [connect(mortal.http_url, max_retries=0) for connect in connect_each]
    kept = [client.stream_chat(RANDOM, max_tokens=ENDLESS) for client in keeping for _ in range(2)]
    for stream in (*streams, *kept):
        next(stream)
    kill(mortal)
    begin = time.perf_counter()
    for client, stream in zip(clients, streams, strict=True):
        with pytest.raises(ServerUnavailableError) as caught:
            list(stream)
        assert (caught.value.request_id, caught.value.url) == (stream.request_id, client.urls[0])
    for stream in kept:
        with pytest.raises(ServerUnavailableError, match="broke"):
            stream.get_final()
    assert time.perf_counter() - begin < 10
    for client in clients:
        client.wait_ready(timeout_s=30)
        assert client.chat(HI, max_tokens=3).usage.output_tokens == 3
    back_again(mortal, before["restarts"])
    assert mortal.info["triton_pid"] != before["triton_pid"]
    for client in keeping:  # on the connections of before, which are dead
        assert client.chat(HI, max_tokens=2).usage.output_tokens == 2
    shared_memory = list(Path("/dev/shm").glob(f"{Path(mortal.info['runtime_dir']).name}*"))  # noqa: S108
    assert len(shared_memory) == len(mortal.info["model_pids"]), "one for each process, and none of those before"


def test_of_two_servers_one_dies_and_comes_back(server: Server, mortal: Server, connect_each: list[Connect]) -> None:
    restarts = mortal.info["restarts"]
    ways = [(connect, way) for connect in connect_each for way in WAYS]
    clients = [connect([url_to(server, way), url_to(mortal, way)], max_retries=0, **WAYS[way]) for connect, way in ways]
    for client in clients:
        assert [client.chat(HI, max_tokens=2).usage.output_tokens for _ in range(4)] == [2] * 4
    kill(mortal)
    for client in clients:
        assert [client.chat(HI, max_tokens=2).usage.output_tokens for _ in range(10)] == [2] * 10
    back_again(mortal, restarts)
    for (connect, way), client in zip(ways, clients, strict=True):
        connect(url_to(mortal, way)).wait_ready(30)
        wait_until(functools.partial(both_work, client, mortal), 20)


def both_work(client: Any, second: Server) -> bool:
    """Whether one of the client's next two requests goes to the second server."""
    before = second.metric("nv_inference_request_success")
    for _ in range(2):
        client.chat(HI, max_tokens=1)
    return second.metric("nv_inference_request_success") > before


def test_a_cancel_goes_to_the_server_that_has_the_request(
    server: Server, mortal: Server, connect: Connect, scheme: str
) -> None:
    client = connect([url_of(server, scheme), url_of(mortal, scheme)])
    streams = [client.stream_chat(RANDOM, max_tokens=ENDLESS) for _ in range(4)]
    for stream in streams:
        next(stream)
    wait_until(lambda: server.metric(IN_FLIGHT) == mortal.metric(IN_FLIGHT) == 2)
    client.cancel(streams[0].request_id)
    assert streams[0].get_final().finish_reason == "cancelled"
    for stream in streams[1:]:
        stream.close()
    wait_until(lambda: nothing_left(server) and nothing_left(mortal))


def test_when_no_server_answers_all_are_named(connect: Connect, scheme: str, unused_port: int) -> None:
    urls = [f"{scheme}://127.0.0.1:{unused_port}", f"{scheme}://localhost:{unused_port}"]
    client = connect(urls, max_retries=0)
    with pytest.raises(ServerUnavailableError, match="None of the servers answers") as caught:
        client.chat(HI)
    assert all(url in str(caught.value) for url in urls)


class Wire:
    """Connections to a server that can be cut in silence: nothing comes through any more, and nobody is told.

    Attributes:
        sent: Bytes that went to the server.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        self._dead = threading.Event()
        self._mute = threading.Event()
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def go_silent(self) -> None:
        self._dead.set()

    def lose_answers(self) -> None:
        """What comes back over the connections that stand is lost; new ones are good."""
        self._mute.set()
        self._mute = threading.Event()

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                self._start(self._pass_on, near, far, threading.Event())
                self._start(self._pass_on, far, near, self._mute)

    def _pass_on(self, source: socket.socket, sink: socket.socket, mute: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._dead.is_set() and not mute.is_set():
                    sink.sendall(data)
                    self.sent += len(data) if mute is not self._mute else 0
            if not self._dead.is_set():
                sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    wire = Wire(server.grpc_address)
    try:
        yield wire
    finally:
        wire.close()


def test_a_half_open_connection_is_noticed(server: Server, connect: Connect, wire: Wire) -> None:
    client = connect(wire.url, keepalive_time_s=0.3, keepalive_timeout_s=0.5, timeouts=Timeouts(connect=0.5))
    stream = client.stream_chat(RANDOM, max_tokens=ENDLESS)
    next(stream)
    wire.go_silent()
    begin = time.perf_counter()
    with pytest.raises(ServerUnavailableError):
        list(stream)
    assert time.perf_counter() - begin < 10
    connect(server.grpc_url).cancel(stream.request_id)
    wait_until(lambda: nothing_left(server))


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_request_whose_server_is_lost_before_its_first_token_is_stopped_there(
    server: Server, mortal: Server, connect: Connect, wire: Wire, elsewhere: bool
) -> None:
    urls = [wire.url, mortal.grpc_url] if elsewhere else [wire.url]
    client = connect(urls, keepalive_time_s=0.5, keepalive_timeout_s=3, max_retries=0)
    client.chat(HI, max_tokens=1)  # the connection stands
    if elsewhere:
        client.chat(HI, max_tokens=1)
    wire.lose_answers()
    with client.stream_chat(RANDOM, max_tokens=ENDLESS) as stream:
        if elsewhere:
            next(stream)
        else:
            with pytest.raises(ServerUnavailableError):
                next(stream)
        wait_until(lambda: nothing_left(server))


def test_gzip_is_used(connect: Connect, wire: Wire) -> None:
    assert connect(wire.url, compression="gzip").chat([{"role": "user", "content": "a" * 100_000}], max_tokens=1)
    assert 0 < wire.sent < 10_000


def test_a_silent_connection_runs_into_the_timeout(server: Server, connect: Connect, wire: Wire) -> None:
    client = connect(wire.url, timeouts=Timeouts(between_tokens=0.5))
    stream = client.stream_chat(RANDOM, max_tokens=ENDLESS)
    next(stream)
    wire.go_silent()
    begin = time.perf_counter()
    with pytest.raises(RequestTimeoutError) as caught:
        list(stream)
    assert caught.value.phase == "between_tokens"
    client.close()  # waits for the cancel, which cannot be heard, but not for long
    assert time.perf_counter() - begin < 15
    connect(server.grpc_url).cancel(stream.request_id)
    wait_until(lambda: nothing_left(server))


def test_pings_do_not_end_a_connection_that_is_at_work(server: Server, connect: Connect) -> None:
    client = connect(server.grpc_url, keepalive_time_s=0.2, keepalive_timeout_s=5)
    assert client.chat(RANDOM, max_tokens=200).usage.output_tokens == 200
    assert client.chat(STALL, max_tokens=500).finish_reason == "stop"


def test_a_server_that_takes_connections_and_says_nothing(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        client = connect(url, max_retries=0, timeouts=Timeouts(connect=0.3))
        begin = time.perf_counter()
        with pytest.raises(RequestTimeoutError) as caught:
            client.chat(HI)
        assert caught.value.phase == "connect"
        assert time.perf_counter() - begin < 10
        begin = time.perf_counter()
        with pytest.raises(RequestTimeoutError) as caught:
            connect(url, timeouts=Timeouts(connect=None, total=0.3)).chat(HI)
        assert caught.value.phase == "total"
        assert time.perf_counter() - begin < 10


def test_a_server_that_speaks_another_language(server: Server, connect: Connect) -> None:
    url = server.http_url.replace("http://", "grpc://")
    with pytest.raises(NemotronError):
        connect(url, max_retries=0, timeouts=3).chat(HI)
