"""OpenAI's responses, of which this server keeps none: what is asked, and how answers are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from nemotron_client import Event, Reply, Usage
from nemotron_front.answering import KEEP_ALIVE, Api, event_of
from nemotron_front.ask import Ask
from nemotron_front.chat import as_line, finish_of
from nemotron_front.conversion import Conversion, objects, text_only, with_chats
from nemotron_front.errors import ApiError, invalid
from nemotron_front.fields import NO_USE
from nemotron_front.items import Call, Item, Output, Text
from nemotron_front.reading import Field, Fields

_LOGPROBS = "message.output_text.logprobs"
_KEEPS_NONE = "this server keeps no responses; send the whole conversation as `input`"

FIELDS = Fields(
    (
        Field("input", doc="A string, or a list of items.", kinds=("string", "array")),
        Field("instructions", doc="A system message before the input.", kinds=("string",)),
        Field("max_output_tokens", doc="All output, thinking included.", kinds=("integer",), range=(1, 2**31 - 1)),
        Field("tools", doc="Functions, flat: `{type, name, description, parameters}`.", kinds=("array",)),
        Field("tool_choice", doc="As for chat completions, flat.", kinds=("string", "object")),
        Field("text.format", doc="The chat completion's `response_format`, flat.", kinds=("object",)),
        Field("text.verbosity", "ignored", NO_USE),
        Field("reasoning.effort", doc="The chat completion's `reasoning_effort`.", kinds=("string",)),
        Field("reasoning.max_tokens", doc="Tokens of thinking.", kinds=("integer",)),
        Field("reasoning.enabled", doc="Thinking on or off.", kinds=("boolean",)),
        Field("reasoning.summary", "ignored", "The thinking itself is in the answer."),
        Field("reasoning.generate_summary", "ignored", "The thinking itself is in the answer."),
        Field("reasoning.context", "ignored", NO_USE),
        Field("reasoning.mode", "ignored", NO_USE),
        Field("include", doc=f"`{_LOGPROBS}` is honoured; all else is ignored.", kinds=("array of strings",)),
        Field("top_logprobs", doc="Alternatives for each token.", kinds=("integer",), range=(0, 20)),
        Field("stream_options", "ignored", "The counts are always in the stream."),
        Field("image", "ignored", "The model reads text."),
        Field("access_programs", "ignored", NO_USE),
        Field("background_options", "ignored", "Nothing runs in the background."),
        Field("max_tool_calls", "ignored", "It counts calls of built-in tools, of which there are none."),
        Field("previous_response_id", "refused", _KEEPS_NONE),
        Field("conversation", "refused", _KEEPS_NONE),
        Field("background", "refused", _KEEPS_NONE, only=(False,)),
        Field("prompt", "refused", "this server keeps no prompts; send `instructions` and `input`"),
        Field("context_management", "refused", "this server shortens no conversation"),
        Field("truncation", "refused", "this server shortens no conversation, expected disabled", only=("disabled",)),
        Field("messages", "refused", "this is called `input` here"),
        Field("max_tokens", "refused", "this is called `max_output_tokens` here"),
        Field("max_completion_tokens", "refused", "this is called `max_output_tokens` here"),
        Field("response_format", "refused", "this is called `text.format` here"),
        Field("logprobs", "refused", f"this is called `top_logprobs` here, or `{_LOGPROBS}` in `include`"),
        Field("separate_reasoning", "refused", "thinking has items of its own", only=(True,)),
        Field("n", "refused", "a response is one answer; send the request several times", only=(1,)),
    )
)
"""What is not as in a chat completion; all else is."""

_SAID: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a response says back of its request, with what it says where nothing was given."""
_TOOL = {"description": None, "parameters": None, "strict": None}


def read_responses(body: dict[str, Any]) -> Ask:
    """What the body of a response asks for.

    Args:
        body: Without fields that are null; its model is resolved.

    Raises:
        ApiError: it can never be answered.
    """
    chat = Conversion(body, FIELDS)
    given = chat.given
    if "instructions" in given:
        chat.message("system", given["instructions"], "instructions", "instructions")
    _read_input(chat, given.get("input"))
    chat.put("max_completion_tokens", given.get("max_output_tokens"), "max_output_tokens")
    if "tools" in given:
        chat.put("tools", [_tool(chat, at, tool) for at, tool in objects("tools", given["tools"])], "tools")
    chat.put("tool_choice", given.get("tool_choice"), "tool_choice")
    chat.put("response_format", _format(given.get("text.format")), "text.format")
    chat.named("response_format.json_schema", "text.format")
    thinking = {name: given.get(f"reasoning.{name}") for name in ("effort", "max_tokens", "enabled")}
    chat.put("reasoning", thinking, "reasoning")
    if _LOGPROBS in given.get("include", ()) or "top_logprobs" in given:
        chat.put("logprobs", True, "include")
        chat.put("top_logprobs", given.get("top_logprobs"), "top_logprobs")
    said = {name: body.get(name, otherwise) for name, otherwise in _SAID.items()}
    return chat.read({**said, "tools": [{**_TOOL, **tool} for tool in said["tools"]]})


def _read_input(chat: Conversion, given: str | list[Any] | None) -> None:
    if given is None:
        raise invalid("input", "input: expected a string, or a list with at least one item")
    chat.named("messages", "input")
    if isinstance(given, str):
        chat.message("user", given, "input", "input")
        return
    for at, item in objects("input", given):
        match item.get("type", "message"):
            case "message":
                chat.message(item.get("role", ""), item.get("content"), at)
            case "function_call":
                chat.call(item.get("call_id"), item.get("name"), item.get("arguments"), at)
            case "function_call_output":
                chat.message("tool", item.get("output"), at, f"{at}.output", tool_call_id=item.get("call_id"))
            case "reasoning":
                pass  # the model is not shown its thinking of earlier turns
            case kind:
                expected = "message, function_call, function_call_output or reasoning"
                raise text_only(f"{at}.type", kind, expected)


def _tool(chat: Conversion, at: str, tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise text_only(f"{at}.type", tool.get("type"), "function; this server runs no tools of its own")
    chat.named(f"{at}.function", at)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _format(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None or given.get("type") != "json_schema":
        return given
    return {"type": "json_schema", "json_schema": {name: value for name, value in given.items() if name != "type"}}


class ResponsesShape:
    """Writes the answer to one request: items, one after the other, and the events that tell of them."""

    keep_alive = KEEP_ALIVE

    def __init__(self, ask: Ask, request_id: str) -> None:
        self._head = {"id": f"resp_{request_id}", "object": "response", "created_at": int(time.time())}
        self._head |= {"model": ask.model, "store": False, **ask.said}
        self._output = Output(request_id, shows_thinking=ask.thinking == "apart")
        self._open: Item | None = None
        self._number = 0

    def begin(self, choice: int, usage: Usage | None, package: str) -> bytes:  # noqa: ARG002 - no place for them
        """What comes before the first event."""
        response = self._response("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:  # noqa: ARG002
        """What an event becomes."""
        delta = self._output.add(event)
        if delta is None:
            return b""
        item = self._output.items[-1]
        begun = b"" if item is self._open else self._closed("completed") + self._opened(item)
        data = begun + self._event(f"response.{item.text_name}.delta", **item.place, **delta)
        return data + self._closed("completed") if isinstance(item, Call) else data

    def end(self, choice: int, reply: Reply) -> bytes:  # noqa: ARG002
        """What comes after the last event."""
        status = _status(reply)
        opened = self._opened(item) if (item := self._output.end(status)) else b""
        return opened + self._closed(status)

    def done(self, replies: Sequence[Reply]) -> bytes:
        """The last event."""
        return self._event(f"response.{_status(replies[0])}", response=self._ended(replies[0]))

    def failed(self, error: ApiError) -> bytes:
        """The event in place of the rest."""
        before = self._closed("incomplete") if self._number else self.begin(0, None, "")  # clients wait for its events
        told = {"code": "server_error", "message": str(error)}
        return before + self._event("response.failed", response=self._response("failed") | {"error": told})

    def whole(self, replies: Sequence[Reply], events: Sequence[Sequence[Event]]) -> bytes:
        """The answer that is not streamed."""
        for event in events[0]:
            self._output.add(event)
        self._output.end(_status(replies[0]))
        return as_line(self._ended(replies[0]))

    def _response(self, status: str) -> dict[str, Any]:
        output = self._output.json("completed" if status == "completed" else "incomplete")
        more = {"error": None, "incomplete_details": None, "output": output, "usage": None}
        return {**self._head, "status": status, **more}

    def _ended(self, reply: Reply) -> dict[str, Any]:
        response = self._response(_status(reply)) | {"usage": _usage(reply.usage)}
        finish = finish_of(reply)
        reason = finish.pop("finish_reason")
        if reason == "length":
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            response["completed_at"] = int(time.time())
        return response | finish

    def _opened(self, item: Item) -> bytes:
        """The beginning of an item."""
        self._open = item
        data = self._item_event("added", item, "in_progress", empty=True)
        if isinstance(item, Text):
            data += self._event("response.content_part.added", **item.place, part=item.part(empty=True))
        return data

    def _closed(self, status: str) -> bytes:
        """The end of the item that is open, if there is one."""
        item, self._open = self._open, None
        if item is None:
            return b""
        data = self._event(f"response.{item.text_name}.done", **item.place, **item.whole())
        if isinstance(item, Text):
            data += self._event("response.content_part.done", **item.place, part=item.part())
        return data + self._item_event("done", item, status)

    def _item_event(self, what: str, item: Item, status: str, *, empty: bool = False) -> bytes:
        place = {"output_index": item.place["output_index"], "item": item.json(status, empty=empty)}
        return self._event(f"response.output_item.{what}", **place)

    def _event(self, kind: str, **more: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return event_of(as_line({"type": kind, "sequence_number": number, **more}), kind)


def _status(reply: Reply) -> str:
    return "incomplete" if finish_of(reply)["finish_reason"] == "length" else "completed"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }


RESPONSES = Api("/v1/responses", read_responses, ResponsesShape, with_chats(FIELDS))
