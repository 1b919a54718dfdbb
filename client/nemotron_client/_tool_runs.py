"""Lets a model use Python functions: calls what it asks for and tells it the results, until it answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from nemotron_client import _defaults
from nemotron_client._tools import FunctionTool, result_text
from nemotron_client._types import Message, Reply, ToolCall, messages_json

if TYPE_CHECKING:
    from nemotron_client._async_client import AsyncClient
    from nemotron_client._client import Client
    from nemotron_client._contract import Options

_logger = logging.getLogger("nemotron_client")


@dataclass(frozen=True)
class ToolRun:
    """An answer that a model came to with the help of functions.

    Attributes:
        reply: The answer.
        messages: The conversation in OpenAI's shape, with calls, results and the answer: append to it and go on.
        replies: All replies in their order, the answer last; each has its own usage and timings.
        limit_reached: The model has called `max_rounds` times and had to answer with what it knew by then.
    """

    reply: Reply
    messages: list[dict[str, Any]]
    replies: tuple[Reply, ...]
    limit_reached: bool


def run_tools(
    client: Client,
    messages: Iterable[Message],
    *,
    max_rounds: int = _defaults.MAX_TOOL_ROUNDS,
    raise_tool_errors: bool = False,
    **options: Unpack[Options],
) -> ToolRun:
    """Send a conversation, call the functions that the model asks for, send their results, until it answers.

    Arguments are checked with the function's signature and become its types before it is called. What goes wrong is
    told to the model as `error: …`, so that it can try again: a call that cannot be read, an unknown function,
    arguments that do not fit, an exception. Calls of one reply are made one after the other. A reply that was cut off
    (its finish reason is neither `tool_calls` nor `stop`) is the answer, whatever it asks for.

    Args:
        client: Sends the requests.
        messages: The conversation, which is not changed.
        max_rounds: How often the model may call. After that it is asked once more, with `tool_choice` `none`.
        raise_tool_errors: Raise what a function raises, rather than tell the model.
        options: See `Options`; among them `tools`, functions as `tool_from_function` takes them. A result that is text
            is told as it is, others as JSON, also dataclasses, enums and pydantic models. A `tool_choice` that
            requires a call is for the first request alone.

    Raises:
        NemotronError: a request failed.
        TypeError: no tools, one that is no function, or an asynchronous one: see `run_tools_async`.
        ValueError: `max_rounds` below 1.
    """
    run = _Run(messages, max_rounds, options)
    if names := [tool.name for tool in run.tools.values() if tool.is_async]:
        raise TypeError(f"tools: {', '.join(names)} is asynchronous, expected plain functions, or use run_tools_async")
    while run.take(client.chat(run.messages, **run.options())):
        for call in run.calls:
            try:
                text = result_text(run.bind(call)())
            except Exception as error:
                text = _failed(call, error, raise_tool_errors)
            run.tell(call, text)
        run.tell_error()
    return run.result()


async def run_tools_async(
    client: AsyncClient,
    messages: Iterable[Message],
    *,
    max_rounds: int = _defaults.MAX_TOOL_ROUNDS,
    raise_tool_errors: bool = False,
    **options: Unpack[Options],
) -> ToolRun:
    """`run_tools` for asyncio, which takes and raises the same.

    Functions may be asynchronous; others run in a thread, so that they block nobody.
    """
    run = _Run(messages, max_rounds, options)
    while run.take(await client.chat(run.messages, **run.options())):
        for call in run.calls:
            try:
                text = result_text(await _awaited(run, call))
            except Exception as error:
                text = _failed(call, error, raise_tool_errors)
            run.tell(call, text)
        run.tell_error()
    return run.result()


class _Run:
    """Where a run stands. Does no I/O.

    Attributes:
        calls: The calls of the last reply, to be made now.
    """

    def __init__(self, messages: Iterable[Message], max_rounds: int, options: Options) -> None:
        if max_rounds < 1:
            raise ValueError(f"max_rounds: {max_rounds} was given, expected at least 1")
        if not options.get("tools") or isinstance(options["tools"], (str, Mapping)):
            raise TypeError("tools: expected a list of functions that the model may call")
        tools = [FunctionTool(tool) for tool in options["tools"]]
        self.messages = messages_json(messages)
        self.tools = {tool.name: tool for tool in tools}
        self._options: Options = {**options, "tools": [tool.definition for tool in tools]}
        self.calls: tuple[ToolCall, ...] = ()
        self._left = max_rounds
        self._replies: list[Reply] = []

    def options(self) -> Options:
        """The options of the next request."""
        options: Options = {**self._options}
        if self._left == 0:
            options["tool_choice"] = "none"
        elif self._replies and options.get("tool_choice") != "none":
            options["tool_choice"] = "auto"
        return options

    def take(self, reply: Reply) -> bool:
        """Note a reply; whether it asks for functions, rightly or wrongly, and is not the answer."""
        self._replies.append(reply)
        self.messages.append(reply.as_message())
        called = reply.finish_reason == "tool_calls" or (reply.finish_reason == "stop" and reply.tool_call_error)
        if not called or self._left == 0:
            return False
        self._left -= 1
        self.calls = reply.tool_calls
        return True

    def bind(self, call: ToolCall) -> Callable[[], Any]:
        """The call of a function that the model asks for.

        Raises:
            _BadCallError: there is no such function, or its arguments do not fit.
        """
        if call.name not in self.tools:
            raise _BadCallError(f"there is no function of this name, expected one of {', '.join(self.tools)}")
        try:
            return self.tools[call.name].bind(call.arguments)
        except ValueError as error:
            raise _BadCallError(f"{call.name}: {error}") from None

    def tell(self, call: ToolCall, text: str) -> None:
        """Note what came of a call."""
        self.messages.append({"role": "tool", "tool_call_id": call.id, "content": text})

    def tell_error(self) -> None:
        """Note what is wrong with a call of the last reply that could not be read. It has no id to answer."""
        if error := self._replies[-1].tool_call_error:
            self.messages.append({"role": "user", "content": f"error: a call could not be read: {error.reason}"})

    def result(self) -> ToolRun:
        return ToolRun(self._replies[-1], self.messages, tuple(self._replies), limit_reached=self._left == 0)


class _BadCallError(Exception):
    """A call that the model got wrong. The message is for the model."""


async def _awaited(run: _Run, call: ToolCall) -> Any:
    function = run.bind(call)
    result = function() if run.tools[call.name].is_async else await asyncio.to_thread(function)
    return await result if inspect.isawaitable(result) else result


def _failed(call: ToolCall, error: Exception, raises: bool) -> str:
    if isinstance(error, _BadCallError):
        return f"error: {error}"
    if raises:
        raise error
    _logger.debug("the function %s raised %s", call.name, type(error).__name__)  # never what it says
    return f"error: {type(error).__name__}: {error}"
