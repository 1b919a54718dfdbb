"""Clients that were closed, that belong to another event loop, or to the process that has forked this one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, StreamClosedError
from nemotron_client.testing import AsyncMockTransport, FakeServer, ScriptedReply
from tests.unit.client.pretend import Pretend, PretendStream

HI = [{"role": "user", "content": "Hi"}]
SCHEMES = pytest.mark.parametrize("scheme", ["grpc", "http"])


def methods(client: Any) -> list[Any]:
    return [
        lambda: client.chat(HI),
        lambda: client.generate("Hi"),
        lambda: client.cancel("x"),
        client.is_live,
        client.is_ready,
        client.wait_ready,
        client.server_info,
    ]


@SCHEMES
def test_a_closed_client_says_so(scheme: str) -> None:
    client = Client(f"{scheme}://127.0.0.1:1")
    copy = client.with_options(max_retries=0)
    client.close()
    for method in (*methods(client), *methods(copy)):
        with pytest.raises(StreamClosedError, match="The client is closed"):
            method()


@SCHEMES
def test_a_closed_asynchronous_client_says_so(scheme: str) -> None:
    async def run() -> None:
        client = AsyncClient(f"{scheme}://127.0.0.1:1")
        await client.close()
        for method in methods(client):
            with pytest.raises(StreamClosedError, match="The client is closed"):
                await method()

    asyncio.run(run())


def test_a_client_of_another_event_loop_says_so() -> None:
    client = AsyncClient(transport=AsyncMockTransport("Hello"))
    assert asyncio.run(client.chat(HI)).content == "Hello"
    for method in methods(client):
        with pytest.raises(RuntimeError, match="expected one client for each loop"):
            asyncio.run(method())


@pytest.mark.parametrize("refused", [False, True])
def test_a_stream_that_opens_while_its_client_is_closed_ends(refused: bool) -> None:
    """The client is closed when the request is on its way, by a thread that cannot know of it yet."""

    class Closing(Pretend):
        def open(self, call: Any) -> PretendStream:
            closer = threading.Thread(target=client.close)
            closer.start()
            closer.join()
            if refused:
                raise ValueError("Cannot invoke RPC on closed channel!")
            return super().open(call)

    transport = Closing()
    client = Client(transport=transport)
    with pytest.raises(StreamClosedError):
        client.chat([{"role": "user", "content": "wait"}])
    assert transport.running == 0


FORKING = """
import os, sys
from nemotron_client import Client, StreamClosedError

HI = [{"role": "user", "content": "Hi"}]
for url in sys.argv[1:]:
    client = Client(url)
    stream = client.stream_chat(HI)
    next(stream)
    child = os.fork()
    if not child:
        try:
            client.chat(HI)
        except StreamClosedError as error:
            stream.close()  # the other's: nothing happens to it
            client.close()
            os._exit(7 if "before a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert stream.get_final().content == "a b c"
    client.close()
"""


def test_a_fork_leaves_the_other_process_alone() -> None:
    """The server is none of the process that forks: gRPC does not take the fork of a server, whose threads call it."""
    with FakeServer(ScriptedReply("a b c", token_s=0.2, times=None)) as server:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, server.grpc_url, server.http_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert not server.cancels
