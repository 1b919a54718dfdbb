"""Giving calls up over HTTP: a read that waits is woken at once, whatever it waits for, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator

import httpx2
import psutil
import pytest

from nemotron_client import NemotronError, ServerUnavailableError
from nemotron_client._transports import Connection
from nemotron_client._transports.http_async import AsyncHttpTransport
from nemotron_client._transports.http_sync import HttpResponseStream, HttpTransport
from tests.unit.client.http_peer import (
    END,
    QUICK_S,
    STREAM_HEAD,
    WAIT_S,
    PeerConnection,
    call,
    deaf_address,
    event,
    peer,
)


def silent(connection: PeerConnection) -> None:
    """Take the request and say nothing."""
    connection.request()
    connection.wait_for_end()


def begins(connection: PeerConnection) -> None:
    """One response, then nothing more."""
    connection.request()
    connection.send(STREAM_HEAD, event("a"))
    connection.wait_for_end()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.005)


class Reading:
    """A thread that reads a stream to its end."""

    def __init__(self, stream: HttpResponseStream) -> None:
        self.texts: list[str] = []
        self.error: NemotronError | None = None
        self.waits = threading.Event()
        self._stream = stream
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                self.waits.set()
                self.texts.append(next(self._stream)["content"])
        except StopIteration:
            pass
        except NemotronError as error:
            self.error = error

    def end(self) -> None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def requested(stream: HttpResponseStream, condition: Callable[[], bool]) -> Reading:
    """A reader that waits for a stream in the state described."""
    reading = Reading(stream)
    assert reading.waits.wait(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return reading


@pytest.mark.parametrize("handle", [silent, begins])
def test_another_thread_wakes_a_read(handle: Callable[[PeerConnection], None]) -> None:
    with peer(handle) as there:
        transport = HttpTransport(there.url, Connection())
        stream = transport.open(call())
        reading = requested(stream, lambda: bool(there.requests))
        if handle is begins:
            assert requested_texts(reading) == ["a"]
        begin = time.monotonic()
        stream.abort()
        stream.abort()
        reading.end()
        assert time.monotonic() - begin < QUICK_S
        assert type(reading.error) is ServerUnavailableError
        with pytest.raises((StopIteration, ServerUnavailableError)):
            next(stream)
        stream.abort()
        transport.close()


def requested_texts(reading: Reading) -> list[str]:
    deadline = time.monotonic() + WAIT_S
    while not reading.texts:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return reading.texts


def test_a_read_that_waits_for_a_reused_connection_is_woken() -> None:
    """Whose socket httpx2 would show only with the head of the response."""

    def second_is_silent(connection: PeerConnection) -> None:
        connection.request()
        connection.send(STREAM_HEAD, event("a"), END)
        silent(connection)

    with peer(second_is_silent) as there:
        transport = HttpTransport(there.url, Connection())
        assert [values["content"] for values in transport.open(call("first"))] == ["a"]
        stream = transport.open(call("second"))
        reading = requested(stream, lambda: len(there.requests) == 2)
        begin = time.monotonic()
        stream.abort()
        reading.end()
        assert time.monotonic() - begin < QUICK_S
        transport.close()
    assert there.connections == 1


def test_a_read_is_woken_while_a_connection_is_made() -> None:
    with deaf_address() as url:
        transport = HttpTransport(url, Connection(connect_timeout_s=30.0))
        stream = transport.open(call())
        reading = requested(stream, lambda: True)
        begin = time.monotonic()
        stream.abort()
        reading.end()
        assert time.monotonic() - begin < QUICK_S
        assert type(reading.error) is ServerUnavailableError
        transport.close()


def test_a_stream_that_is_aborted_before_it_is_read() -> None:
    with peer(silent) as there:
        transport = HttpTransport(there.url, Connection())
        stream = transport.open(call())
        stream.abort()
        with pytest.raises(ServerUnavailableError, match="given up"):
            next(stream)
        transport.close()


def test_abort_of_an_ended_call_leaves_the_next_one_alone() -> None:
    def serve(connection: PeerConnection) -> None:
        while connection.request():
            connection.send(STREAM_HEAD, event("a"), END)

    with peer(serve) as there:
        transport = HttpTransport(there.url, Connection())
        first = transport.open(call("1"))
        assert len(list(first)) == 1
        second = transport.open(call("2"))
        first.abort()
        assert [values["content"] for values in second] == ["a"]
        transport.close()
    assert there.connections == 1


@pytest.mark.parametrize("handle", [silent, begins])
def test_close_ends_running_calls_without_their_rest(handle: Callable[[PeerConnection], None]) -> None:
    with peer(handle) as there:
        transport = HttpTransport(there.url, Connection())
        readings = [requested(transport.open(call(str(number))), lambda: True) for number in range(3)]
        deadline = time.monotonic() + WAIT_S
        while len(there.requests) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        begin = time.monotonic()
        transport.close()
        for reading in readings:
            reading.end()
            assert type(reading.error) is ServerUnavailableError
        assert time.monotonic() - begin < QUICK_S
        with pytest.raises(ServerUnavailableError):
            next(transport.open(call("late")))


@pytest.mark.parametrize("handle", [silent, begins])
def test_a_stream_that_is_forgotten_closes_its_connection(handle: Callable[[PeerConnection], None]) -> None:
    ended = threading.Event()

    def watched(connection: PeerConnection) -> None:
        handle(connection)
        ended.set()

    with peer(watched) as there:
        transport = HttpTransport(there.url, Connection())
        stream = transport.open(call())
        if handle is begins:
            assert next(stream)["content"] == "a"
        else:
            stream.abort()  # without it, its thread waits for the head of the response
        del stream
        gc.collect()
        assert ended.wait(WAIT_S)
        transport.close()


@pytest.mark.parametrize("handle", [silent, begins])
def test_a_stream_that_is_given_up_keeps_no_socket(handle: Callable[[PeerConnection], None]) -> None:
    before = psutil.Process().num_fds()
    with peer(handle) as there:
        transport = HttpTransport(there.url, Connection())
        streams = [transport.open(call(str(number))) for number in range(5)]
        if handle is begins:
            assert [next(stream)["content"] for stream in streams] == ["a"] * 5
        for stream in streams:
            stream.abort()
    deadline = time.monotonic() + WAIT_S
    while psutil.Process().num_fds() > before:  # though the streams are still there, and so is the transport
        assert time.monotonic() < deadline
        time.sleep(0.005)
    transport.close()
    assert len(streams) == 5


def test_the_server_works_before_anybody_reads() -> None:
    with peer(begins) as there:
        transport = HttpTransport(there.url, Connection())
        streams = [transport.open(call(str(number))) for number in range(3)]
        deadline = time.monotonic() + WAIT_S
        while len(there.requests) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert [next(stream)["content"] for stream in streams] == ["a"] * 3
        transport.close()


def test_two_hundred_streams_at_once() -> None:
    together = threading.Barrier(200)

    def serve(connection: PeerConnection) -> None:
        connection.request()
        connection.send(STREAM_HEAD, event("a"))
        together.wait(WAIT_S)
        connection.send(event("b"), END)

    with peer(serve) as there:
        transport = HttpTransport(there.url, Connection())
        readings = [Reading(transport.open(call(str(number)))) for number in range(200)]
        for reading in readings:
            reading.end()
            assert (reading.texts, reading.error) == (["a", "b"], None)
        transport.close()


async def tasks_end() -> None:
    """Only this one is left."""
    deadline = time.monotonic() + WAIT_S
    while len(asyncio.all_tasks()) > 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("handle", [silent, begins])
def test_async_abort_wakes_a_read(handle: Callable[[PeerConnection], None]) -> None:
    async def run(url: str) -> None:
        transport = AsyncHttpTransport(url, Connection())
        stream = transport.open(call())
        asyncio.get_running_loop().call_later(0.1, stream.abort)
        begin = time.monotonic()
        with pytest.raises(ServerUnavailableError, match="given up"):
            [values async for values in stream]
        assert time.monotonic() - begin < 0.1 + QUICK_S
        stream.abort()
        await tasks_end()
        await transport.close()

    with peer(handle) as there:
        asyncio.run(run(there.url))


def test_async_abort_before_anything_was_sent() -> None:
    async def run(url: str) -> None:
        transport = AsyncHttpTransport(url, Connection())
        stream = transport.open(call())
        stream.abort()
        with pytest.raises(ServerUnavailableError, match="given up"):
            await stream.__anext__()
        await tasks_end()
        await transport.close()

    with peer(silent) as there:
        asyncio.run(run(there.url))
    assert not there.requests


@pytest.mark.parametrize("handle", [silent, begins])
def test_a_cancelled_read_leaves_nothing_behind(handle: Callable[[PeerConnection], None]) -> None:
    async def run(url: str) -> None:
        transport = AsyncHttpTransport(url, Connection())
        stream = transport.open(call())
        if handle is begins:
            await stream.__anext__()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stream.__anext__(), 0.1)
        await tasks_end()
        await transport.close()

    with peer(handle) as there:
        asyncio.run(run(there.url))


def test_async_close_ends_running_calls() -> None:
    async def run(url: str) -> None:
        transport = AsyncHttpTransport(url, Connection())
        streams = [transport.open(call(str(number))) for number in range(3)]
        for stream in streams:
            await stream.__anext__()
        begin = time.monotonic()
        await transport.close()
        assert time.monotonic() - begin < QUICK_S
        for stream in streams:
            with pytest.raises(ServerUnavailableError, match="given up"):
                await stream.__anext__()
        await tasks_end()

    with peer(begins) as there:
        asyncio.run(run(there.url))


def test_two_hundred_async_streams_at_once() -> None:
    together = threading.Barrier(200)

    def serve(connection: PeerConnection) -> None:
        connection.request()
        connection.send(STREAM_HEAD, event("a"))
        together.wait(WAIT_S)
        connection.send(event("b"), END)

    async def read(transport: AsyncHttpTransport, number: int) -> list[str]:
        return [values["content"] async for values in transport.open(call(str(number)))]

    async def run(url: str) -> None:
        transport = AsyncHttpTransport(url, Connection())
        texts = await asyncio.gather(*(read(transport, number) for number in range(200)))
        assert texts == [["a", "b"]] * 200
        await transport.close()

    with peer(serve) as there:
        asyncio.run(run(there.url))


def test_a_forgotten_stream_may_be_collected_in_the_midst_of_the_transports_own_work() -> None:
    """Python collects where it likes: also in a thread that holds the transport's lock."""

    class Collecting(HttpTransport):
        forgotten: HttpResponseStream | None = None

        def _one_connection(self) -> httpx2.BaseTransport:
            if self.forgotten is not None:
                self.forgotten.abort()
            return super()._one_connection()

    with peer(begins) as there:
        transport = Collecting(there.url, Connection())
        first = transport.open(call("1"))
        assert next(first)["content"] == "a"
        transport.forgotten = first
        opened: list[HttpResponseStream] = []
        opener = threading.Thread(target=lambda: opened.append(transport.open(call("2"))), daemon=True)
        opener.start()
        opener.join(WAIT_S)
        assert not opener.is_alive()
        assert next(opened[0])["content"] == "a"
        transport.close()
