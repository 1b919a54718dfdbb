"""The endpoint that renders Markdown.

Rendering goes on in a process of its own: a long text holds up no stream, and one that takes too long ends with it.
"""

from __future__ import annotations

import asyncio
import html
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nemotron_front.body import read_json
from nemotron_front.errors import ApiError, invalid, overloaded

MAX_LENGTH = 1 << 18
"""Characters of a text that is rendered."""
REQUEST = struct.Struct("!I?")
"""Before a text: its bytes, and whether it is final."""
REPLY = struct.Struct("!I")
"""Before what was made of it: its bytes."""

_MAX_BYTES = 6 * MAX_LENGTH + 100  # of JSON: a character may be written as \\uXXXX
_BODY_SECONDS = 30.0
_MAX_WAITING = 64
"""Requests that wait for the process."""
_SECONDS = 10.0
"""A text that takes longer is shown as it is."""
_START_SECONDS = 30.0


class Rendering:
    """POST /page/render: Markdown in, HTML out, nothing kept. The process starts with the first request."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    def routes(self) -> list[Route]:
        """Its route."""
        return [Route("/page/render", self._answer, methods=["POST"])]

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.communicate()

    async def render(self, text: str, *, final: bool) -> bytes:
        """What `nemotron_front.page.markdown.render` makes of a text, as JSON; of one that it fails on, the text.

        Raises:
            ApiError: too many texts wait.
        """
        if self._waiting >= _MAX_WAITING:
            raise overloaded(_MAX_WAITING)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._ask(text, final) or _plain(text, final)
        finally:
            self._waiting -= 1

    async def _answer(self, request: Request) -> Response:
        body = await read_json(request.scope, request.receive, _MAX_BYTES, _BODY_SECONDS)
        text, final = body.pop("text", None), body.pop("final", False)
        if not isinstance(text, str):
            raise invalid("text", f"text: {type(text).__name__} given, expected a string.")
        if not isinstance(final, bool):
            raise invalid("final", f"final: {type(final).__name__} given, expected a boolean.")
        if body:
            name = min(body)
            raise invalid(name, f"{name}: not a field of this request, which has text and final.", "unknown_parameter")
        if len(text) > MAX_LENGTH:
            message = f"text: {len(text)} characters given, at most {MAX_LENGTH} are rendered at once."
            raise ApiError(413, "invalid_request_error", "request_too_large", message, param="text")
        return Response(await self.render(text, final=final), media_type="application/json")

    async def _ask(self, text: str, final: bool) -> bytes:
        try:
            process = self._process or await self._start()
            async with asyncio.timeout(_SECONDS):
                return await _exchange(process, text, final)
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            await self.close()
            return b""
        except asyncio.CancelledError:  # its answer would be taken for the next one's
            await self.close()
            raise

    async def _start(self) -> Process:
        """Start the process. It ends with its input, and so with this one; its errors might quote what it renders."""
        command = (sys.executable, "-m", __package__)
        self._process = process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        async with asyncio.timeout(_START_SECONDS):
            await _exchange(process, "", True)
        return process


async def _exchange(process: Process, text: str, final: bool) -> bytes:
    assert process.stdin and process.stdout  # noqa: S101 - both are pipes
    data = text.encode("utf-8", "surrogatepass")
    process.stdin.write(REQUEST.pack(len(data), final) + data)
    await process.stdin.drain()
    (size,) = REPLY.unpack(await process.stdout.readexactly(REPLY.size))
    return await process.stdout.readexactly(size)


def _plain(text: str, final: bool) -> bytes:
    shown = f'<pre class="plain">{html.escape(text)}</pre>\n'
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    told = {"blocks": [shown], "open": "", "consumed": units} if final else {"blocks": [], "open": shown, "consumed": 0}
    return msgspec.json.encode(told)
