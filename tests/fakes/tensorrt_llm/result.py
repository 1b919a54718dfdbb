"""Results that change while they are read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, fields
from typing import Any

from .parameters import RECORDED


class RequestError(RuntimeError):
    """This request failed; the LLM stays usable."""


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] | None = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[dict[int, Logprob]] | list[float] | None = field(default_factory=list)
    prompt_logprobs: list[Any] | None = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None


for _field in fields(CompletionOutput):
    _field.type = next(one["type"] for one in RECORDED["CompletionOutput"]["params"] if one["name"] == _field.name)


@dataclass
class Response:
    """What the worker sends for one request.

    Attributes:
        tokens: New tokens.
        logprobs: One for each.
        finish_reason: Set in the last one.
        cut: Tokens to take off the end of the list.
    """

    tokens: list[int]
    logprobs: list[dict[int, Logprob]]
    finish_reason: str | None = None
    cut: int = 0


class RequestOutput:
    """One request: the same object is yielded for every response."""

    def __init__(self, executor: Any, request_id: int, prompt_token_ids: list[int], cached_tokens: int) -> None:
        self.request_id = request_id
        self.prompt_token_ids = prompt_token_ids
        self.cached_tokens = cached_tokens
        self.outputs = [CompletionOutput(0)]
        self.finished = False
        self._executor = executor
        self._aborted = False
        self._queue: asyncio.Queue[Response | Exception] = asyncio.Queue()

    def put(self, response: Response | Exception) -> None:
        self._queue.put_nowait(response)

    def abort(self) -> None:
        assert asyncio.get_running_loop() is self._executor.loop, "abort from another thread"
        self._executor.abort(self.request_id)
        self._aborted = True

    def aborted(self) -> bool:
        return self._aborted

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        response = await self._queue.get()
        if isinstance(response, Exception):
            raise response
        self._take(response)
        return self

    def _take(self, response: Response) -> None:
        output = self.outputs[0]
        assert output.token_ids is not None and output.logprobs is not None
        output.token_ids.extend(response.tokens)
        output.logprobs.extend(response.logprobs)  # type: ignore[arg-type]
        if response.cut:
            del output.token_ids[-response.cut :]
        output.finish_reason = response.finish_reason
        self.finished = response.finish_reason is not None
