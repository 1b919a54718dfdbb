"""A caller of an application in this process, over ASGI itself: which can send slowly, and leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message

WAIT_S = 10


class Caller:
    """One request.

    Attributes:
        status: Of the response; 0 before.
        headers: Of the response.
        body: What has come of it.
        over: Whether it is whole.
    """

    def __init__(
        self, app: ASGIApp, path: str, body: Any = None, *, method: str = "POST", stuck: bool = False, **headers: str
    ) -> None:
        """Prepare.

        Args:
            app: What is asked.
            path: The path.
            body: A value to send as JSON, bytes, or an iterable of the parts that bytes come in.
            method: The method.
            stuck: Whether the body never comes to its end.
            headers: With _ for -; without a host it is 127.0.0.1.
        """
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self._app = app
        named = {"host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
            "scheme": "http",
            "root_path": "",
            "state": {},
        }
        self._parts = list(_parts_of(body))
        self._stuck = stuck
        self._left = asyncio.Event()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> Caller:
        """Ask, and go on."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def read_until(self, condition: Callable[[Caller], object]) -> None:
        """Wait until something has come."""
        async with asyncio.timeout(WAIT_S):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    async def end(self) -> Caller:
        """Wait until the application has done with the request."""
        assert self._task is not None
        async with asyncio.timeout(WAIT_S):
            await self._task
        return self

    @property
    def json(self) -> Any:
        """The body as a value."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """What the body says that is wrong, with all of OpenAI's keys."""
        error = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error

    @property
    def data(self) -> list[str]:
        """The data of the events that have come."""
        return [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data: ")]

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts) or self._stuck}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._left.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.over = not message.get("more_body", False)
        self._news.set()


def _parts_of(body: bytes | str | Mapping[str, Any] | Sequence[bytes] | None) -> Sequence[bytes]:
    if body is None:
        return [b""]
    if isinstance(body, bytes):
        return [body]
    if isinstance(body, Mapping | str):
        return [json.dumps(body).encode()]
    return body


async def ask(app: ASGIApp, path: str, body: Any = None, *, method: str = "POST", **headers: str) -> Caller:
    """Ask, and wait for the whole answer."""
    return await Caller(app, path, body, method=method, stuck=False, **headers).start().end()


async def get(app: ASGIApp, path: str, **headers: str) -> Caller:
    """GET."""
    return await ask(app, path, method="GET", **headers)
