"""Transports that answer by a function, and the values of which answers are made."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nemotron_client._errors import NemotronError, ServerUnavailableError
from nemotron_client._transports import Call

URL = "grpc://pretend:1"
Values = dict[str, Any]
Answer = Callable[[Call], list[Values]]


def values(content: str = "", *, finish_reason: str = "", tool_calls: Any = (), **others: Any) -> Values:
    """The outputs of one response."""
    return {
        "content": content,
        "reasoning_content": "",
        "tool_calls": json.dumps(tool_calls) if tool_calls else "",
        "finish_reason": finish_reason,
        "num_input_tokens": 7,
        "num_output_tokens": 3,
        "num_reasoning_tokens": 1,
        "num_cached_tokens": -1,
        "thinking_budget_reached": False,
        **others,
    }


def says(text: str, finish_reason: str = "stop") -> list[Values]:
    return [values(text), values(finish_reason=finish_reason)]


def asks(name: str, arguments: str, number: int = 0) -> list[Values]:
    """A call of a function."""
    call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
    return [values(tool_calls=[call], finish_reason="tool_calls")]


def conversation(call: Call) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = json.loads(call.inputs["messages"])
    return messages


def last_text(call: Call) -> str:
    return str(call.inputs["text_input"] if "text_input" in call.inputs else conversation(call)[-1]["content"])


def gave_up() -> NemotronError:
    return ServerUnavailableError("given up", request_id="", url=URL)


class Pretend:
    """A transport. A call whose last message is `wait` is answered once it is released.

    Attributes:
        calls: In the order in which they came.
        posts: The request ids of the cancels.
        most: The largest number of calls at the same time.
    """

    url = URL

    def __init__(self, answer: Answer = lambda call: says(last_text(call))) -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self.posts: list[str] = []
        self.release = threading.Event()
        self.running = 0
        self.most = 0
        self.lock = threading.Lock()

    def open(self, call: Call) -> PretendStream:
        self.calls.append(call)
        return PretendStream(self, call)

    def post(self, call: Call, timeout_s: float, done: Callable[[], None]) -> None:  # noqa: ARG002
        self.posts.append(call.request_id)
        done()

    def ask(self, call: Call, timeout_s: float) -> Values:  # noqa: ARG002
        return {}

    def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        return True

    def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        return True

    def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        return {"name": "pretend", "version": "1", "extensions": []}

    def close(self) -> None: ...

    def count(self, change: int) -> None:
        with self.lock:
            self.running += change
            self.most = max(self.most, self.running)


class PretendStream:
    def __init__(self, transport: Pretend, call: Call) -> None:
        self._transport = transport
        self._call = call
        self._aborted = threading.Event()
        self._responses = self._answer()

    def __iter__(self) -> PretendStream:
        return self

    def __next__(self) -> Values:
        return next(self._responses)

    def abort(self) -> None:
        self._aborted.set()

    def _answer(self) -> Iterator[Values]:
        transport = self._transport
        transport.count(+1)
        try:
            if waits(self._call):
                while not transport.release.wait(0.005):
                    if self._aborted.is_set():
                        raise gave_up()
            yield from transport.answer(self._call)
        finally:
            transport.count(-1)


class AsyncPretend:
    """`Pretend` for asyncio."""

    url = URL

    def __init__(self, answer: Answer = lambda call: says(last_text(call))) -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self.posts: list[str] = []
        self.release = asyncio.Event()
        self.running = 0
        self.most = 0

    def open(self, call: Call) -> AsyncPretendStream:
        self.calls.append(call)
        return AsyncPretendStream(self, call)

    async def post(self, call: Call, timeout_s: float) -> None:  # noqa: ARG002
        self.posts.append(call.request_id)

    async def ask(self, call: Call, timeout_s: float) -> Values:  # noqa: ARG002
        return {}

    async def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        return True

    async def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        return True

    async def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        return {"name": "pretend", "version": "1", "extensions": []}

    async def close(self) -> None: ...


class AsyncPretendStream:
    def __init__(self, transport: AsyncPretend, call: Call) -> None:
        self._transport = transport
        self._call = call
        self._aborted = asyncio.Event()
        self._left: list[Values] | None = None

    def __aiter__(self) -> AsyncPretendStream:
        return self

    async def __anext__(self) -> Values:
        if self._left is None:
            self._left = await self._answer()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    def abort(self) -> None:
        self._aborted.set()

    async def _answer(self) -> list[Values]:
        transport = self._transport
        transport.running += 1
        transport.most = max(transport.most, transport.running)
        try:
            await asyncio.sleep(0)
            if waits(self._call):
                waiting = [asyncio.ensure_future(event.wait()) for event in (transport.release, self._aborted)]
                try:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in waiting:
                        one.cancel()
                if not transport.release.is_set():
                    raise gave_up()
            return transport.answer(self._call)
        finally:
            transport.running -= 1


def waits(call: Call) -> bool:
    return last_text(call) == "wait"
