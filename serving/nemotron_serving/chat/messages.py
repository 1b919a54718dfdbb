"""Chat messages in OpenAI's shape, as the `messages` input carries them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from nemotron_serving.chat.json_values import check_depth, read_json
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.output.tags import CLOSE_TAG

Side = Literal["system", "user", "assistant"]

_MOST_MESSAGES = 4096  # each takes 10 µs and more to check, arrange and write, in a thread that all requests share
_EXPECTED = (
    """a list of OpenAI's chat messages as one JSON text, such as [{"role": "user", "content": "Hi"}]; """
    "plain text goes into text_input"
)
# The line that switches this family's thinking, with the end of the line.
_TOGGLE = re.compile(r"^[ \t]*detailed thinking (on|off)[ \t\r]*$\n?", re.IGNORECASE | re.MULTILINE)


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """One part of a content list. Images and audio are not for this model."""

    text: str
    annotations: Any = None
    cache_control: Any = None


class RefusalPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="refusal"):
    """The part that OpenAI's models refuse with. Like a message's `refusal`, it is not shown to the model."""

    refusal: str | None = None
    cache_control: Any = None


class FunctionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an assistant called.

    Once `parse_messages` has read them, the arguments are an object, or the text of what is none: the model wrote that,
    or was cut off, and whoever sends the conversation again cannot mend it.
    """

    name: str
    arguments: dict[str, Any] | str | None = None
    parsed_arguments: Any = None
    provider_specific_fields: Any = None


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `tool_calls`. The id says which tool message answers it; it is not shown to the model."""

    function: FunctionCall
    id: str | None = None
    type: Literal["function"] | None = "function"
    index: int | None = None
    cache_control: Any = None
    extra_content: Any = None
    provider_specific_fields: Any = None


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation.

    `name` and what clients leave in the messages that they send again is accepted and not shown to the model; nor is
    the thinking of earlier turns. These fields cannot change a prompt, whatever they hold. Any other is refused, for it
    may be a misspelt one, or one that would.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | RefusalPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    # The thinking, under the names that servers and their clients give it.
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    # What OpenAI's SDK dumps.
    name: str | None = None
    refusal: str | None = None
    annotations: Any = None
    parsed: Any = None
    audio: None = None
    function_call: None = None
    # What gateways and others add.
    id: Any = None
    index: Any = None
    status: Any = None
    cache_control: Any = None
    provider_specific_fields: Any = None

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
        if not isinstance(parts, str):
            parts = "".join(part.text for part in parts if isinstance(part, TextPart))
        if self.role == "assistant" and CLOSE_TAG in parts:
            return parts.split(CLOSE_TAG, 1)[1].lstrip("\n")
        return parts


def joined(*texts: str) -> str:
    """Texts with a blank line between them, empty ones left out."""
    return "\n\n".join(filter(None, texts))


def parse_messages(value: str, *, continues: bool = False) -> list[Message]:
    """Read the JSON of the `messages` input.

    Args:
        value: The JSON.
        continues: Whether the last one is an answer that has begun, to those before it.

    Raises:
        InvalidRequestError: not JSON, not a list of messages, or a conversation that nobody can answer.
    """
    messages: list[Message] = read_json("messages", value, list[Message], _EXPECTED)
    if len(messages) > _MOST_MESSAGES:
        raise InvalidRequestError("messages", f"{len(messages)} were given, expected at most {_MOST_MESSAGES}")
    if not messages:
        raise InvalidRequestError("messages", "the list is empty, expected at least one message")
    messages = [_checked(f"messages[{number}]", message) for number, message in enumerate(messages)]
    if continues and (messages[-1].role != "assistant" or not messages[-1].text or messages[-1].tool_calls):
        raise InvalidRequestError(
            "continue_final_message",
            "the last message has no text to go on with, expected the assistant's, without calls",
        )
    head, closing = split_closing(messages[:-1] if continues else messages)
    if closing:
        if not system_text(closing):
            raise InvalidRequestError(
                "messages", "nothing but empty system messages and switches at the end, expected a text to answer"
            )
    elif not head or head[-1].side == "assistant":
        before = " before the one to continue" if continues else ""
        raise InvalidRequestError(
            "messages", f"the last message{before} is from the assistant, expected the user or a tool"
        )
    return messages


def split_closing(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """Part the messages from the system messages at their end that nobody but the assistant has spoken before.

    Those are what is to be answered, in a conversation such as `system` alone or `user, assistant, system`. A system
    message after the user's is no more than an instruction about the answer.
    """
    end = next((at for at in range(len(messages), 0, -1) if messages[at - 1].side != "system"), 0)
    if end and messages[end - 1].side == "user":
        end = len(messages)
    return messages[:end], messages[end:]


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
    if not message.text and message.role == "user":
        raise InvalidRequestError(f"{field}.content", "empty, expected the user's text")
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
        arguments = _arguments(f"{field}[{number}].function.arguments", function.arguments)
        read.append(msgspec.structs.replace(call, function=FunctionCall(function.name, arguments)))
    return read


def _arguments(field: str, arguments: dict[str, Any] | str | None) -> dict[str, Any] | str:
    if isinstance(arguments, dict):
        check_depth(field, arguments)
        return arguments
    # Some clients write nothing, or null, for a function without parameters.
    if arguments is None or not arguments.strip():
        return {}
    try:
        read: dict[str, Any] | None = read_json(field, arguments, dict[str, Any] | None, "a JSON object")
        check_depth(field, read)
    except InvalidRequestError:
        return arguments
    return {} if read is None else read
