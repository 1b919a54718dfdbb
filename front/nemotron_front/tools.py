"""Tools: which ones the model is told of, whether it must call one, and how many."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

from nemotron_client import (
    AsyncChatStream,
    ContentDelta,
    Event,
    LogprobsDelta,
    ReasoningDelta,
    Reply,
    Timings,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from nemotron_front.errors import invalid
from nemotron_front.reading import shown

_MODES = ("none", "auto", "required")
_CHOICE = '"none", "auto", "required", {"type": "function", "function": {"name": …}} or allowed_tools'
_PARTS = ("name", "description", "parameters")
_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 64


def read_tools(given: Mapping[str, Any]) -> dict[str, Any]:
    """The server's options `tools` and `tool_choice`.

    Args:
        given: What `Fields.read` returns.

    Raises:
        ApiError: what is no tool, or a choice of one that is not there.
    """
    tools = [_tool(f"tools[{number}]", tool) for number, tool in enumerate(given.get("tools", ()))]
    choice = given.get("tool_choice", "auto")
    if isinstance(choice, dict):
        tools, choice = _chosen(choice, tools)
    elif choice not in _MODES:
        raise invalid("tool_choice", f"tool_choice: {shown(choice)} was given, expected {_CHOICE}")
    if choice == "required" and not tools:
        raise invalid("tool_choice", "tool_choice: a call is required, but no tools were given; send tools with it")
    return {"tools": tools, "tool_choice": choice} if tools else {}


def _tool(where: str, given: Any) -> dict[str, Any]:
    """A tool without what the model is not told: nulls, `strict`, and marks of other servers."""
    if not isinstance(given, dict) or (given.get("type") or "function") != "function":
        kind = shown(given.get("type") if isinstance(given, dict) else given)
        message = (
            f"{where}.type: {kind} was given, expected function: the model calls functions of yours, and no others"
        )
        raise invalid(f"{where}.type", message, "unsupported_parameter")
    function = given.get("function", given)  # flat, as in /v1/responses
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid(f"{where}.function", f'{where}.function: expected an object with name, such as {{"name": "add"}}')
    told = {part: function[part] for part in _PARTS if function.get(part) is not None}
    return {"type": "function", "function": told}


def _chosen(choice: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    """The tools that are left, and the choice among them."""
    kind = choice.get("type") or ("function" if "function" in choice else None)
    known = dict.fromkeys(tool["function"]["name"] for tool in tools)
    if kind == "function":
        name = _name("tool_choice", choice, known)
        return tools, {"type": "function", "function": {"name": name}}
    if kind != "allowed_tools":
        raise invalid("tool_choice", f"tool_choice: the type {shown(kind)} was given, expected {_CHOICE}")
    allowed = choice.get("allowed_tools", choice)
    mode, listed = (allowed.get(part) for part in ("mode", "tools")) if isinstance(allowed, dict) else (None, None)
    if mode not in ("auto", "required") or not isinstance(listed, list) or not listed:
        expected = '{"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": […]}}'
        raise invalid("tool_choice", f"tool_choice: expected {expected}")
    names = {_name(f"tool_choice.allowed_tools.tools[{at}]", one, known) for at, one in enumerate(listed)}
    return [tool for tool in tools if tool["function"]["name"] in names], mode


def _name(where: str, given: Any, known: Mapping[str, object]) -> str:
    """The name of a function that is to be called, nested or flat: one of those that are known."""
    function = given.get("function", given) if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in known:
        some = ", ".join(one[:_SHOWN_CHARACTERS] for one in islice(known, _SHOWN_NAMES))
        more = ", …" if len(known) > _SHOWN_NAMES else ""
        expected = f"one of the tools: {some}{more}" if known else "tools that it is one of"
        raise invalid("tool_choice", f"{where}: the function {shown(name)} was given, expected {expected}")
    return name


class FirstCall:
    """A stream that ends behind its first tool call, and has the server stop there.

    For callers that want one call at a time. It has what answering uses of `AsyncChatStream`.
    """

    def __init__(self, stream: AsyncChatStream) -> None:
        self._stream = stream
        self._begin = time.perf_counter()
        self._first_answer: float | None = None
        self._texts: dict[type, list[str]] = {ReasoningDelta: [], ContentDelta: []}
        self._logprobs: list[Mapping[str, Any]] = []
        self._reply: Reply | None = None

    @property
    def usage_so_far(self) -> Usage | None:
        """See `AsyncChatStream`."""
        return self._stream.usage_so_far

    @property
    def package(self) -> str:
        """See `AsyncChatStream`."""
        return self._stream.package

    def __aiter__(self) -> FirstCall:
        return self

    async def __anext__(self) -> Event:
        if self._reply is not None:
            raise StopAsyncIteration
        event = await anext(self._stream)
        if self._first_answer is None and isinstance(event, (ContentDelta, ToolCallDelta)):
            self._first_answer = time.perf_counter()
        if isinstance(event, (ContentDelta, ReasoningDelta)):
            self._texts[type(event)].append(event.text)
        elif isinstance(event, LogprobsDelta):
            self._logprobs += event.entries
        elif isinstance(event, ToolCallDelta):
            self._reply = self._cut(event.call)
            await self._stream.close()
        return event

    async def get_final(self) -> Reply:
        """See `AsyncChatStream`."""
        async for _ in self:
            pass
        return self._reply or await self._stream.get_final()

    async def close(self) -> None:
        """See `AsyncChatStream`."""
        await self._stream.close()

    def _cut(self, call: ToolCall) -> Reply:
        usage = self._stream.usage_so_far
        assert usage is not None  # noqa: S101 - a response has come
        return Reply(
            content="".join(self._texts[ContentDelta]),
            reasoning_content="".join(self._texts[ReasoningDelta]),
            tool_calls=(call,),
            finish_reason="tool_calls",
            thinking_budget_reached=self._stream.thinking_budget_reached,
            usage=usage,
            timings=self._timings(),
            request_id=self._stream.request_id,
            logprobs=tuple(self._logprobs),
            package=self._stream.package,
        )

    def _timings(self) -> Timings:
        """See `Reply.timings`: what the client would have measured."""
        now = time.perf_counter()
        (first, tokens), (_, total) = self._stream.arrivals[0], self._stream.arrivals[-1]
        return Timings(
            total_s=now - self._begin,
            ttft_s=first - self._begin,
            first_answer_s=(self._first_answer or now) - self._begin,
            mean_itl_s=(now - first) / (total - tokens) if total > tokens else None,
        )
