"""A gateway before a real server, which may speak TLS and may go dead."""

from __future__ import annotations

import asyncio
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
    """

    url: str = ""
    frozen: bool = False
    never: asyncio.Event = field(default_factory=asyncio.Event)


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
        asyncio.run_coroutine_threadsafe(_end(listener), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(found: Gateway, server_url: str, tls: ssl.SSLContext | None) -> asyncio.Server:
    behind = urlsplit(server_url)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            from_server, to_server = await asyncio.open_connection(behind.hostname, behind.port)
            with contextlib.closing(to_server):
                ways = [_pass_on(found, reader, to_server), _pass_on(found, from_server, writer)]
                tasks = [asyncio.ensure_future(way) for way in ways]
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


async def _end(listener: asyncio.Server) -> None:
    listener.close()
    await asyncio.sleep(0.01)  # who was accepted a moment ago becomes a task
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.01)  # connections that were closed end in the loop's next rounds
