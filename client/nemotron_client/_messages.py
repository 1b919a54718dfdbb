"""Messages of a conversation: as dicts in OpenAI's shape or as objects, to the JSON that the server takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nemotron_client._types import ToolCall


@dataclass(frozen=True)
class SystemMessage:
    """What the model is told about its task."""

    content: str


@dataclass(frozen=True)
class UserMessage:
    """What the user says."""

    content: str


@dataclass(frozen=True)
class AssistantMessage:
    """What the model has answered; of a reply, `reply.as_message()` says the same as a dict.

    Attributes:
        content: The answer, without the thinking: the model is not shown that of earlier turns.
        tool_calls: The functions that it wanted called.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class ToolMessage:
    """What a function has returned.

    Attributes:
        content: The result; JSON goes to the model as JSON.
        tool_call_id: The id of the call.
    """

    content: str
    tool_call_id: str


Message = Mapping[str, Any] | SystemMessage | UserMessage | AssistantMessage | ToolMessage
"""A dict in OpenAI's shape, `{"role": "user", "content": "…"}`, or one of the classes."""

_ROLES = ("system", "developer", "user", "assistant", "tool")
_CLASSES: dict[type, str] = {
    SystemMessage: "system",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
}


def messages_json(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's shape, in new dicts.

    Raises:
        TypeError: something else than messages, or a content that is no text.
        ValueError: a dict without a role, or with one that does not exist.
    """
    if isinstance(messages, (str, Mapping, *_CLASSES)) or not isinstance(messages, Iterable):
        raise TypeError(f"messages: {type(messages).__name__} was given, expected a list of messages")
    return [_message(f"messages[{number}]", message) for number, message in enumerate(messages)]


def _message(where: str, message: Any) -> dict[str, Any]:
    if role := _CLASSES.get(type(message)):
        given = {"role": role} | {name: value for name, value in vars(message).items() if value != ()}
    elif isinstance(message, Mapping):
        given = dict(message)
    else:
        expected = "a dict with role and content, or a message object"
        raise TypeError(f"{where}: {type(message).__name__} was given, expected {expected}")
    if given.get("role") not in _ROLES:
        what = repr(given["role"]) if "role" in given else "nothing"
        raise ValueError(f"{where}.role: {what} was given, expected one of {', '.join(_ROLES)}")
    content = given.get("content")
    if not isinstance(content, (str, list, tuple, type(None))):
        raise TypeError(f"{where}.content: {type(content).__name__} was given, expected str or a list of text parts")
    if calls := given.get("tool_calls"):
        given["tool_calls"] = [call.as_message_part() if isinstance(call, ToolCall) else call for call in calls]
    return given
