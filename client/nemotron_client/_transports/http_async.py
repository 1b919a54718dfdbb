"""HTTP for asyncio."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from nemotron_client._contract import ENSEMBLE
from nemotron_client._errors import NemotronError
from nemotron_client._transports import http_codec as codec
from nemotron_client._transports.base import Call, Connection


class AsyncHttpTransport:
    """Connections to one server. See `AsyncTransport`; as with `HttpTransport`, the environment's proxy is not used."""

    def __init__(self, url: str, connection: Connection) -> None:
        """See `base`. Raises what `HttpTransport` raises."""
        self.url = url
        self._base = codec.base_url(url)
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(
            verify=codec.ssl_context(url, connection.tls),
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=codec.MAX_IDLE, keepalive_expiry=codec.IDLE_S),
            socket_options=codec.socket_options(connection),
        )

    def open(self, call: Call) -> AsyncHttpResponseStream:
        """See `AsyncTransport.open`."""
        stream = AsyncHttpResponseStream(call.request_id, self.url)
        task = asyncio.get_running_loop().create_task(
            self._pass_on(call, self._generate(call), stream.put), name="nemotron-client-http"
        )
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)
        stream.ends_with(task)
        return stream

    async def post(self, call: Call, timeout_s: float) -> None:
        """See `AsyncTransport.post`."""
        with contextlib.suppress(NemotronError, ValueError):
            await self._ask(self._generate(call, timeout_s))

    async def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        """See `AsyncTransport.ask`."""
        return codec.last_values(call, *await self._ask(self._generate(call, timeout_s)), url=self.url)

    async def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `AsyncTransport.is_live`."""
        return codec.says_yes(*await self._get("/v2/health/live", headers, timeout_s), url=self.url)

    async def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `AsyncTransport.is_ready`."""
        return codec.says_yes(*await self._get(codec.ready_path(model), headers, timeout_s), url=self.url)

    async def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `AsyncTransport.metadata`."""
        found = codec.metadata_of(*await self._get("/v2", headers, timeout_s), url=self.url)
        with contextlib.suppress(NemotronError):
            status, _, body = await self._get(codec.config_path(ENSEMBLE), headers, timeout_s)
            found["parameters"] = codec.parameters_of(status, body)
        return found

    async def close(self) -> None:
        """See `AsyncTransport.close`."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.aclose()

    async def _pass_on(self, call: Call, request: httpx2.Request, put: Callable[[dict[str, Any]], None]) -> None:
        """Read the responses to a call.

        Raises:
            NemotronError: what the call ends with.
        """
        reader = codec.ResponseReader(call, self.url)
        try:
            response = await self._transport.handle_async_request(request)
            async with contextlib.aclosing(response):
                content_type = response.headers.get("content-type", "")
                if not codec.is_event_stream(content_type):
                    status, body = response.status_code, await response.aread()
                    raise codec.refusal(status, content_type, body, request_id=call.request_id, url=self.url)
                async with contextlib.aclosing(response.aiter_bytes()) as chunks:
                    async for chunk in chunks:
                        for values in reader.responses_in(chunk):
                            put(values)
        except codec.FAILURES as error:
            raise codec.connection_error(error, request_id=call.request_id, url=self.url) from error
        reader.end()

    def _generate(self, call: Call, timeout_s: float | None = None) -> httpx2.Request:
        url, headers = self._base + codec.generate_path(call), codec.generate_headers(call)
        body = codec.generate_body(call)
        return codec.request("POST", url, headers, self._connection, body=body, timeout_s=timeout_s)

    async def _get(self, path: str, headers: Mapping[str, str], timeout_s: float) -> tuple[int, str, bytes]:
        request = codec.request("GET", self._base + path, headers, self._connection, timeout_s=timeout_s)
        return await self._ask(request)

    async def _ask(self, request: httpx2.Request) -> tuple[int, str, bytes]:
        """The status, the content type and the body of the response."""
        try:
            response = await self._transport.handle_async_request(request)
            async with contextlib.aclosing(response):
                await response.aread()
        except codec.FAILURES as error:
            raise codec.connection_error(error, request_id="", url=self.url) from error
        return response.status_code, response.headers.get("content-type", ""), response.content


class AsyncHttpResponseStream:
    """The responses to one call, which a task reads. See `AsyncResponseStream`."""

    def __init__(self, request_id: str, url: str) -> None:
        self._request_id = request_id
        self._url = url
        self._values: collections.deque[dict[str, Any]] = collections.deque()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __aiter__(self) -> AsyncHttpResponseStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._values:
            task = self._task
            if task is None or task.done():
                raise self._end(task)
            self._news.clear()
            try:
                await self._news.wait()
            except asyncio.CancelledError:
                self.abort()
                raise
        return self._values.popleft()

    def abort(self) -> None:
        """See `AsyncResponseStream.abort`."""
        if self._task is not None:
            self._task.cancel()

    def put(self, values: dict[str, Any]) -> None:
        """Take a response."""
        self._values.append(values)
        self._news.set()

    def ends_with(self, task: asyncio.Task[None]) -> None:
        """Whatever ends this task ends the stream."""
        self._task = task
        task.add_done_callback(self._tell)

    def _tell(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # nobody has to ask for it
        self._news.set()

    def _end(self, task: asyncio.Task[None] | None) -> BaseException:
        if task is None or task.cancelled():
            return codec.given_up(self._request_id, self._url)
        return task.exception() or StopAsyncIteration()
