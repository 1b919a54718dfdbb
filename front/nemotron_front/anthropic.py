"""Anthropic's messages: what is asked, and how answers are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from nemotron_client import ContentDelta, Event, ReasoningDelta, Reply, ToolCall, ToolCallDelta, Usage
from nemotron_front.answering import Api, event_of
from nemotron_front.ask import Ask
from nemotron_front.chat import as_line, finish_of
from nemotron_front.conversion import Conversion, objects, text_only, with_chats
from nemotron_front.errors import ApiError, anthropic_body, anthropic_json, invalid
from nemotron_front.fields import NO_USE
from nemotron_front.reading import Field, Fields, shown

_NO_CONTAINERS = "this server runs no code and no tools of its own"

FIELDS = Fields(
    (
        Field("messages", doc="The conversation; content is a string or a list of blocks.", kinds=("array",)),
        Field("system", doc="A string, or a list of text blocks.", kinds=("string", "array")),
        Field("max_tokens", doc="All output, thinking included; need not be given.", kinds=("integer",)),
        Field("stop_sequences", doc="Texts that end the answer.", kinds=("array of strings",)),
        Field("tools", doc="Functions: `{name, description, input_schema}`.", kinds=("array",)),
        Field("tool_choice", doc="`auto`, `any`, `none` or `tool`; `disable_parallel_tool_use`.", kinds=("object",)),
        Field("thinking.type", doc="`enabled`, `adaptive` or `disabled`.", kinds=("string",)),
        Field("thinking.budget_tokens", doc="Tokens of thinking.", kinds=("integer",)),
        Field("thinking.display", "ignored", "The thinking is always shown."),
        Field("output_config.effort", doc="The chat completion's `reasoning_effort`.", kinds=("string",)),
        Field("output_config.format", doc="`json_schema`, with `schema`.", kinds=("object",)),
        Field("output_format", doc="`output_config.format`, as it was called before.", kinds=("object",)),
        Field("cache_control", "ignored", "Prompts are always cached where the engine can."),
        Field("context_management", "ignored", "Thinking of earlier turns is never shown to the model."),
        Field("diagnostics", "ignored", NO_USE),
        Field("inference_geo", "ignored", NO_USE),
        Field("speed", "ignored", NO_USE),
        Field("container", "refused", _NO_CONTAINERS),
        Field("mcp_servers", "refused", _NO_CONTAINERS),
        Field("max_completion_tokens", "refused", "this is called `max_tokens` here"),
        Field("response_format", "refused", "this is called `output_config.format` here"),
        Field("stop", "refused", "this is called `stop_sequences` here"),
        Field("stream_options", "refused", "the counts are always in the stream", only=({"include_usage": True},)),
        Field("logprobs", "refused", "there is no place for them; use /v1/chat/completions", only=(False,)),
        Field("separate_reasoning", "refused", "thinking has blocks of its own", only=(True,)),
        Field("n", "refused", "a message is one answer; send the request several times", only=(1,)),
    )
)
"""What is not as in a chat completion; all else is."""

# Claude Code's first system block has a new hash with every request, and so would have no prompt found in the cache.
# Looked for where lines begin alone: else much white space would be gone through again from each of its characters.
_BILLING = re.compile(r"^[ \t]*x-anthropic-billing-header:[^\n]*\n?", re.MULTILINE)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def read_messages_request(body: dict[str, Any]) -> Ask:
    """What the body of a message asks for.

    Args:
        body: Without fields that are null; its model is resolved.

    Raises:
        ApiError: it can never be answered.
    """
    chat = Conversion(body, FIELDS)
    given = chat.given
    if "system" in given:
        chat.message("system", _system(given["system"]), "system", "system")
    begun = None
    for at, message in objects("messages", given.get("messages", ())):
        _read_message(chat, at, message)
        begun = at if _begins_the_answer(message) else None
    if begun is not None and "continue_final_message" not in body:
        chat.put("continue_final_message", True, begun)
    chat.put("max_completion_tokens", given.get("max_tokens"), "max_tokens")
    chat.put("stop", given.get("stop_sequences"), "stop_sequences")
    if "tools" in given:
        chat.put("tools", [_tool(chat, at, tool) for at, tool in objects("tools", given["tools"])], "tools")
    if choice := given.get("tool_choice"):
        chat.put("tool_choice", _tool_choice(choice), "tool_choice")
        chat.put("parallel_tool_calls", not choice.get("disable_parallel_tool_use", False), "tool_choice")
    thinking = {name: given.get(f"thinking.{name}") for name in ("type", "budget_tokens")}
    chat.put("thinking", thinking if any(thinking.values()) else None, "thinking")
    chat.put("reasoning_effort", given.get("output_config.effort"), "output_config.effort")
    for name in ("output_config.format", "output_format"):
        if name in given:
            chat.put("response_format", _format(name, given[name]), name)
            chat.named("response_format.json_schema", name)
    return chat.read({})


def _system(given: str | list[Any]) -> str | list[Any]:
    if isinstance(given, str):
        return _BILLING.sub("", given, count=1)
    return [_without_billing(block) for block in given]


def _without_billing(block: Any) -> Any:
    if isinstance(block, dict) and isinstance(text := block.get("text"), str):
        return {**block, "text": _BILLING.sub("", text, count=1)}
    return block


def _read_message(chat: Conversion, at: str, message: dict[str, Any]) -> None:
    role, content = message.get("role", ""), message.get("content")
    if not isinstance(content, list):
        chat.message(role, content, at)
        return
    rest, calls = [], []
    for place, block in objects(f"{at}.content", content):
        match block.get("type"):
            case "tool_result":
                chat.message("tool", _result(block), place, tool_call_id=block.get("tool_use_id"))
            case "tool_use":
                calls.append((place, block))
            case "text" | "thinking" | "redacted_thinking":  # the latter are not shown to the model
                rest.append(block)
            case kind:
                raise text_only(place, kind, "text, thinking, tool_use or tool_result; this model reads text")
    if rest or calls or not content:
        chat.message(role, rest, at)
    for place, block in calls:
        arguments = as_line(block.get("input", {})).decode()
        chat.call(block.get("id"), block.get("name"), arguments, place)


def _begins_the_answer(message: dict[str, Any]) -> bool:
    """Whether the answer goes on with this message, as the last one: the assistant's, with text and no calls."""
    content = message.get("content")
    kinds = [block.get("type") for block in content] if isinstance(content, list) else ["text"] if content else []
    return message.get("role") == "assistant" and "text" in kinds and "tool_use" not in kinds


def _result(block: dict[str, Any]) -> Any:
    content = block.get("content", "")
    if block.get("is_error") and isinstance(content, str):
        return f"Error: {content}"
    if block.get("is_error") and isinstance(content, list):
        return [{"type": "text", "text": "Error: "}, *content]
    return content


def _tool(chat: Conversion, at: str, tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        raise text_only(f"{at}.type", tool["type"], f"custom, or none; {_NO_CONTAINERS}")
    chat.named(f"{at}.function", at)
    chat.named(f"{at}.function.parameters", f"{at}.input_schema")
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    function |= {name: tool[name] for name in ("description", "strict") if name in tool}
    return {"type": "function", "function": function}


def _tool_choice(given: dict[str, Any]) -> Any:
    kind = given.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": given.get("name")}}
    if not isinstance(kind, str) or kind not in _CHOICES:
        expected = ", ".join([*_CHOICES, "tool"])
        raise invalid("tool_choice", f"tool_choice.type: {shown(kind)} was given, expected one of {expected}")
    return _CHOICES[kind]


def _format(name: str, given: dict[str, Any]) -> dict[str, Any]:
    if given.get("type") != "json_schema":
        raise invalid(name, f"{name}.type: {shown(given.get('type'))} was given, expected json_schema")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": given.get("schema")}}


class MessagesShape:
    """Writes the answer to one request: blocks, one after the other, and the events that tell of them."""

    keep_alive = event_of(as_line({"type": "ping"}), "ping")

    def __init__(self, ask: Ask, request_id: str) -> None:
        self._head = {"id": f"msg_{request_id}", "type": "message", "role": "assistant", "model": ask.model}
        self._signature = request_id
        self._told = (ContentDelta, ToolCallDelta, ReasoningDelta)[: 3 if ask.thinking == "apart" else 2]
        self._begun = 0  # so many blocks
        self._open = ""  # the kind of the last one, while it goes on

    def begin(self, choice: int, usage: Usage | None, package: str) -> bytes:  # noqa: ARG002 - there is one
        """What comes before the first event."""
        counts = _usage(usage or Usage(0, 0, 0))
        return _event("message_start", message=self._message([], None) | {"usage": counts}) + self.keep_alive

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:  # noqa: ARG002
        """What an event becomes."""
        match event:
            case ToolCallDelta(call):
                begun = self._closed() + self._start("tool_use", _call(call, "{}"))
                return (
                    begun + self._delta({"type": "input_json_delta", "partial_json": call.arguments}) + self._closed()
                )
            case ReasoningDelta(text) | ContentDelta(text) if isinstance(event, self._told):
                kind = _KINDS[type(event)]
                begun = b"" if self._open == kind else self._closed() + self._start(kind, _text(kind, ""))
                return begun + self._delta({"type": f"{kind}_delta", kind: text})
        return b""

    def end(self, choice: int, reply: Reply) -> bytes:  # noqa: ARG002
        """What comes after the last event."""
        ended = {"stop_reason": _stop_reason(reply), "stop_sequence": None, **_more(reply)}
        return self._closed() + _event("message_delta", delta=ended, usage=_usage(reply.usage))

    def done(self, replies: Sequence[Reply]) -> bytes:  # noqa: ARG002
        """The last event."""
        return _event("message_stop")

    def failed(self, error: ApiError) -> bytes:
        """The event in place of the rest."""
        return event_of(as_line(anthropic_body(error)), "error")

    def whole(self, replies: Sequence[Reply], events: Sequence[Sequence[Event]]) -> bytes:
        """The answer that is not streamed."""
        (reply,) = replies
        blocks: list[dict[str, Any]] = []
        told: list[Any] = [event for event in events[0] if isinstance(event, self._told)]
        for kind, same in groupby(told, type):
            if kind is ToolCallDelta:
                blocks += [_call(event.call, event.call.arguments) for event in same]
            else:
                blocks.append(_text(_KINDS[kind], "".join(event.text for event in same), self._signature))
        message = self._message(blocks, _stop_reason(reply))
        return as_line(message | _more(reply) | {"usage": _usage(reply.usage)})

    def _message(self, blocks: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
        return {**self._head, "content": blocks, "stop_reason": reason, "stop_sequence": None}

    def _start(self, kind: str, block: dict[str, Any]) -> bytes:
        """The beginning of a block, which is closed before the next one."""
        self._open, self._begun = kind, self._begun + 1
        return self._block_event("start", content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._block_event("delta", delta=delta)

    def _closed(self) -> bytes:
        """The end of the block that is open, if there is one."""
        kind, self._open = self._open, ""
        if not kind:
            return b""
        signed = self._delta({"type": "signature_delta", "signature": self._signature}) if kind == "thinking" else b""
        return signed + self._block_event("stop")

    def _block_event(self, what: str, **more: Any) -> bytes:
        return _event(f"content_block_{what}", index=self._begun - 1, **more)


_KINDS: Mapping[type, str] = {ReasoningDelta: "thinking", ContentDelta: "text"}


def _text(kind: str, text: str, signature: str = "") -> dict[str, Any]:
    """A block of text. Clients send thinking back with its signature, which is not looked at."""
    return {"type": kind, kind: text, **({"signature": signature} if kind == "thinking" else {})}


def _call(call: ToolCall, arguments: str) -> dict[str, Any]:
    """A block of a call, with arguments that are JSON."""
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": msgspec.Raw(arguments.encode())}


def _event(kind: str, **more: Any) -> bytes:
    return event_of(as_line({"type": kind, **more}), kind)


def _stop_reason(reply: Reply) -> str:
    return _STOP_REASONS[finish_of(reply)["finish_reason"]]


def _more(reply: Reply) -> dict[str, Any]:
    """What Anthropic has no words for."""
    finish = finish_of(reply)
    more = {"finish_reason": finish["stop_reason"]} if "stop_reason" in finish else {}
    return more | ({"thinking_budget_reached": True} if reply.thinking_budget_reached else {})


def _usage(usage: Usage) -> dict[str, Any]:
    """The token counts. Those of the prompt that were cached are counted apart."""
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


MESSAGES = Api("/v1/messages", read_messages_request, MessagesShape, with_chats(FIELDS), anthropic_json)
