"""A gateway before a real server, which may speak TLS and may go dead."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Gateway:
    """Passes bytes between clients and a server.

    Attributes:
        frozen: Connections stay open and mute, for good.
        never: Who waits for this is mute. Kept here, for the loop itself keeps nothing that waits.
        tasks: Those that have begun, and close their connections when they are cancelled.
        transports: Of all connections, to both sides, which are ended for good with the gateway.
        sockets: Theirs.
    """

    url: str = ""
    frozen: bool = False
    never: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    transports: list[asyncio.WriteTransport] = field(default_factory=list)
    sockets: list[asyncio.trsock.TransportSocket] = field(default_factory=list)

    def begin(self, task: asyncio.Task[None] | None) -> None:
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def connected(self, writer: asyncio.StreamWriter) -> None:
        self.transports.append(writer.transport)
        self.sockets.append(writer.get_extra_info("socket"))


@contextlib.contextmanager
def gateway(server_url: str, tls: ssl.SSLContext | None = None) -> Iterator[Gateway]:
    """Run a gateway before the server with this HTTP URL until the block ends."""
    found = Gateway()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gateway")
    thread.start()
    listener = asyncio.run_coroutine_threadsafe(_listen(found, server_url, tls), loop).result(10)
    try:
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(_end(found, listener), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(found: Gateway, server_url: str, tls: ssl.SSLContext | None) -> asyncio.Server:
    behind = urlsplit(server_url)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.begin(asyncio.current_task())
        found.connected(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            from_server, to_server = await asyncio.open_connection(behind.hostname, behind.port)
            found.connected(to_server)
            with contextlib.closing(to_server):
                ways = [_pass_on(found, reader, to_server), _pass_on(found, from_server, writer)]
                tasks = [asyncio.create_task(way) for way in ways]
                for task in tasks:
                    found.begin(task)
                # When one side has ended, so has the other.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    listener = await asyncio.start_server(connect, "127.0.0.1", 0, ssl=tls)
    found.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    return listener


async def _pass_on(found: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        if found.frozen:
            await found.never.wait()
        writer.write(data)
        await writer.drain()


async def _end(found: Gateway, listener: asyncio.Server) -> None:
    # Accept nobody more, and close the server only when all who were accepted have begun: in Python 3.11 one that
    # begins later fails at the closed server, and nobody closes its socket.
    for accepting in listener.sockets:
        asyncio.get_running_loop().remove_reader(accepting.fileno())
    quiet = 0
    while quiet < 3:  # who was accepted a moment ago becomes a task, and one that has not begun would close nothing
        await asyncio.sleep(0.01)
        quiet = 0 if asyncio.all_tasks() - found.tasks - {asyncio.current_task()} else quiet + 1
    listener.close()
    tasks = list(found.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for transport in found.transports:
        transport.abort()
    while any(socket.fileno() >= 0 for socket in found.sockets):
        await asyncio.sleep(0.01)  # connections that were closed end in the loop's next rounds
