"""One HTTP request and its answer, and what all of them share."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from starlette.types import Message, Receive, Scope, Send

from nemotron_client import AsyncChatStream, AsyncClient, Reply, Usage
from nemotron_front.body import read_json
from nemotron_front.errors import ApiError
from nemotron_front.options import FrontOptions
from nemotron_front.tools import FirstCall

EXCHANGE = "nemotron.exchange"
"""Where endpoints find the `Exchange` in their scope."""

_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
_LINGER_S = 5
_LINGER_OUTSIDE_S = 0.5
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_SECONDS = re.compile(rb"[0-9]{1,6}(\.[0-9]{1,9})?")

Mode = Literal["none", "stream", "whole"]
"""How text is sent: while it is written, or all at once; none where none was asked for."""


@dataclass
class Front:
    """What all requests share.

    Attributes:
        options: What the front was started with.
        client: Talks to the servers.
        exchanges: The requests in hand: those that were let in.
        leaving: Whether new requests will be refused soon, or are already: probes are told that it is not ready.
        stopping: Whether new requests are refused.
    """

    options: FrontOptions
    client: AsyncClient
    exchanges: set[Exchange] = field(default_factory=set)
    leaving: bool = False
    stopping: bool = False


class Exchange:
    """One HTTP request and its answer.

    Attributes:
        front: What it shares with the others.
        client: Talks to the servers, about this request.
        endpoint: The path of the route that it is for; a dash where there is none.
        scope: ASGI's.
        headers: Of the request, by their names in lower case.
        id: Its name for the servers, and the tail of the ids that callers see.
        request_id: What the header x-request-id says: the caller's own, or the same.
        error_json: Writes errors in the shape that the caller expects.
        more_headers: What every response has.
        began_at: When it came, in seconds of `time.perf_counter`.
        mode: How its text is sent.
        started: Whether a status has been sent: from then on errors are events.
        status: That status; 0 before.
        wrote_at: When something was sent last, in seconds of the loop's clock.
        caller_left: Whether the connection has ended before the answer.
        error: Why it has failed or was cut off.
        streams: What the servers write for it.
        n: So many of them have the same prompt; they follow each other.
        replies: What they have written, once all of it is there.
    """

    def __init__(self, front: Front, scope: Scope, receive: Receive, send: Send) -> None:
        self.front = front
        self.client = front.client
        self.endpoint = "-"
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = uuid.uuid4().hex
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else self.id
        self.error_json: Callable[[ApiError], bytes] = ApiError.json
        # OpenAI's clients look at one of them, Anthropic's at the other.
        self.more_headers = [(name, self.request_id.encode()) for name in (b"x-request-id", b"request-id")]
        self.began_at = time.perf_counter()
        self.mode: Mode = "none"
        self.started = False
        self.status = 0
        self.wrote_at = 0.0
        self.caller_left = False
        self.error: ApiError | None = None
        self.streams: Sequence[AsyncChatStream | FirstCall] = ()
        self.n = 1
        self.replies: Sequence[Reply] = ()
        # Of a request without a body nothing needs to be read.
        self._is_read = not {b"content-length", b"transfer-encoding"} & self.headers.keys()
        self._receive = receive
        self._send = send
        self._turn = asyncio.Lock()
        self._time = asyncio.get_running_loop().time

    @property
    def usage(self) -> Usage | None:
        """The token counts of all its answers, as far as they are known. A prompt that several share counts once."""
        groups = [self.streams[at : at + self.n] for at in range(0, len(self.streams), self.n)]
        known = [[one for stream in group if (one := stream.usage_so_far) is not None] for group in groups]
        prompts, counts = [group[0] for group in known if group], [one for group in known for one in group]
        if not counts:
            return None
        return Usage(
            prompt_tokens=sum(one.prompt_tokens for one in prompts),
            output_tokens=sum(one.output_tokens for one in counts),
            reasoning_tokens=sum(one.reasoning_tokens for one in counts),
            cached_tokens=sum(one.cached_tokens or 0 for one in prompts),
        )

    @property
    def is_writing(self) -> bool:
        """Whether something is being sent, which the caller holds up."""
        return self._turn.locked()

    @property
    def _is_let_in(self) -> bool:
        return self in self.front.exchanges

    @property
    def patience_ms(self) -> int:
        """How long the answer may take, in milliseconds.

        OpenAI's client says after which silence it gives up. A stream is never silent for long, so that is the time
        for an answer in one piece alone.
        """
        limit_s = self.front.options.answer_seconds
        given = self.headers.get(b"x-stainless-read-timeout", b"")
        if self.mode == "whole" and _SECONDS.fullmatch(given):
            limit_s = min(limit_s, float(given))
        return max(1, int(1000 * limit_s))

    async def json(self) -> dict[str, Any]:
        """The JSON object in the body, without fields that are null. Raises what `read_json` raises."""
        options = self.front.options
        return await read_json(self.scope, self.receive, options.max_body_bytes, options.body_seconds)

    async def refuse(self, error: ApiError) -> None:
        """Send an error: all there is."""
        self.error = error
        await self.whole(self.error_json(error), error.status, error.headers)

    async def whole(self, data: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        """Send all there is, as JSON where the headers say nothing else."""
        head = {"content-type": "application/json", "content-length": str(len(data)), **headers}
        lingers = not self._is_read and status != HTTPStatus.REQUEST_TIMEOUT
        if lingers and not self._is_let_in:
            head["connection"] = "close"
        async with self._turn:
            await self._start(status, head)
            await self._put(data, more=lingers)
        if lingers:
            await self._read_rest()
            await self._put(b"", more=False)

    async def write(self, data: bytes) -> None:
        """Send a part of a stream."""
        async with self._turn:
            if not self.started:
                await self._start(200, _STREAM_HEADERS)
            await self._put(data, more=True)

    async def finish(self, data: bytes) -> None:
        """Send the last part of a stream."""
        async with self._turn:
            await self._put(data, more=False)

    async def receive(self) -> Message:
        """ASGI's."""
        message = await self._receive()
        self._is_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """ASGI's, for endpoints that are ordinary applications."""
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = [*message.get("headers", ()), *self.more_headers]
            if self.front.leaving:  # the caller's next connection may go elsewhere
                headers = [*(one for one in headers if one[0] != b"connection"), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await self._send(message)

    async def left(self) -> None:
        """Returns when the caller has left."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def cut(self, error: ApiError) -> None:
        """End it, whether its answer is whole or not."""
        self.error = error
        await self.close()

    async def close(self) -> None:
        """Stop what the servers write for it, at once."""
        for stream in self.streams:
            await stream.close()

    async def _read_rest(self) -> None:
        """Take what is still coming of the body: a connection that ends before resets, and may lose what was sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S if self._is_let_in else _LINGER_OUTSIDE_S):
                while not self._is_read:
                    await self.receive()

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": named})

    async def _put(self, data: bytes, *, more: bool) -> None:
        self.wrote_at = self._time()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
