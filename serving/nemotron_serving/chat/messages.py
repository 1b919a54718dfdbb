"""Chat messages in OpenAI's shape, as the `messages` input carries them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from nemotron_serving.chat.json_values import check_depth, read_json
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.output.reasoning import CLOSE_TAG

Side = Literal["system", "user", "assistant"]

# The line that switches this family's thinking, with the end of the line.
_TOGGLE = re.compile(r"^[ \t]*detailed thinking (on|off)[ \t\r]*$\n?", re.IGNORECASE | re.MULTILINE)


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a content list. Images and audio are not for this model."""

    type: Literal["text"]
    text: str


class FunctionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an assistant called. The arguments are an object once `parse_messages` has read them."""

    name: str
    arguments: dict[str, Any] | str


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `tool_calls`. The id says which tool message answers it; it is not shown to the model."""

    function: FunctionCall
    id: str | None = None
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation.

    `name` and what OpenAI's SDK dumps besides (`refusal`, `annotations`, `audio`, `function_call`) are accepted and
    not shown to the model; nor is the thinking of earlier turns.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None

    @property
    def side(self) -> Side:
        """Who speaks: a developer is the system, and a tool's result comes from the user's side."""
        if self.role == "developer":
            return "system"
        return "user" if self.role == "tool" else self.role

    @property
    def text(self) -> str:
        """The content as one string; an earlier assistant turn is shown without its thinking."""
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        if self.role == "assistant" and CLOSE_TAG in text:
            return text.split(CLOSE_TAG, 1)[1].lstrip("\n")
        return text


def joined(*texts: str) -> str:
    """Texts with a blank line between them, empty ones left out."""
    return "\n\n".join(filter(None, texts))


def parse_messages(value: str) -> list[Message]:
    """Read the JSON of the `messages` input.

    Raises:
        InvalidRequestError: not JSON, not a list of messages, or a conversation that nobody can answer.
    """
    messages: list[Message] = read_json("messages", value, list[Message], "OpenAI's chat messages")
    if not messages:
        raise InvalidRequestError("messages", "the list is empty, expected at least one message")
    messages = [_checked(f"messages[{number}]", message) for number, message in enumerate(messages)]
    last = next((message for message in reversed(messages) if message.side != "system"), messages[-1])
    if last.side != "user":
        raise InvalidRequestError("messages", f"the last message is from the {last.role}, expected the user or a tool")
    return messages


def thinking_flag(messages: Iterable[Message]) -> bool | None:
    """What the system messages say about thinking: a line `detailed thinking on` or `off`, the last one counts.

    Returns:
        None when they say nothing.
    """
    found = _TOGGLE.findall(_raw_system_text(messages))
    return found[-1].lower() == "on" if found else None


def system_text(messages: Iterable[Message]) -> str:
    """The caller's system messages as one text, without the lines that switch thinking."""
    text = _raw_system_text(messages)
    without, removed = _TOGGLE.subn("", text)
    return without.strip("\n") if removed else text


def _raw_system_text(messages: Iterable[Message]) -> str:
    return joined(*(message.text for message in messages if message.side == "system"))


def _checked(field: str, message: Message) -> Message:
    if not message.text and message.role not in ("assistant", "tool"):
        raise InvalidRequestError(f"{field}.content", f"empty, expected the {message.role}'s text")
    if message.tool_call_id is not None and message.role != "tool":
        raise InvalidRequestError(f"{field}.tool_call_id", f"given by the {message.role}, expected in a tool's message")
    if not message.tool_calls:
        return message
    if message.role != "assistant":
        raise InvalidRequestError(f"{field}.tool_calls", f"given by the {message.role}, expected of the assistant")
    return msgspec.structs.replace(message, tool_calls=_with_objects(f"{field}.tool_calls", message.tool_calls))


def _with_objects(field: str, calls: Sequence[ToolCall]) -> list[ToolCall]:
    read: list[ToolCall] = []
    for number, call in enumerate(calls):
        function = call.function
        if not function.name:
            raise InvalidRequestError(f"{field}[{number}].function.name", "empty, expected the called function's name")
        arguments = _object(f"{field}[{number}].function.arguments", function.arguments)
        read.append(msgspec.structs.replace(call, function=FunctionCall(function.name, arguments)))
    return read


def _object(field: str, arguments: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(arguments, str):
        # Some clients write nothing for a function without parameters.
        arguments = read_json(field, arguments, dict[str, Any], "a JSON object") if arguments.strip() else {}
    check_depth(field, arguments)
    return arguments
