"""What a chat format is given, and how every format sees it: one system text, then turns of the two sides.

The rules that do not depend on the format have their home here: where the toggle line and the caller's system text
go, which messages are merged, and in which order tool results stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Literal, Protocol

from nemotron_serving.chat.controls import PromptPart
from nemotron_serving.chat.messages import Message, ToolCall, joined, split_closing, system_text
from nemotron_serving.chat.tools import Tool
from nemotron_serving.package import ThinkingPolicy


@dataclass(frozen=True)
class ChatRequest:
    """One conversation to render.

    Attributes:
        messages: As `parse_messages` returns them.
        tools: The functions that the model is told of; () tells it of none.
        thinking: Which of the package's two toggle lines is written.
        prefill: Text that opens the assistant's turn.
    """

    messages: Sequence[Message]
    tools: tuple[Tool, ...]
    thinking: bool
    prefill: str


class ChatFormat(Protocol):
    """How a conversation is written for a model.

    Attributes:
        tool_tags: The tags that open and close a block of tool calls in the model's output.
    """

    tool_tags: tuple[str, str]

    def render(self, request: ChatRequest) -> list[PromptPart]:
        """The prompt in parts: `Control` parts become the one token of that name, strings are text.

        Raises:
            InvalidRequestError: a conversation that the package's own template refuses.
        """
        ...


@dataclass(frozen=True)
class Turn:
    """What one side says in a row.

    Attributes:
        text: Its texts, a blank line between them.
        calls: What the assistant called, after its text.
        results: Tool messages, in the order of the calls they answer: formats without ids have only the order.
            They come before the text, which cannot answer a call.
        preface: System text that opens the user's first turn.
    """

    side: Literal["user", "assistant"]
    text: str
    calls: tuple[ToolCall, ...] = ()
    results: tuple[Message, ...] = ()
    preface: str = ""


@dataclass(frozen=True)
class Conversation:
    """The system's text, empty for none, and the turns, in which the two sides alternate."""

    system: str
    turns: tuple[Turn, ...]


def arrange(request: ChatRequest, policy: ThinkingPolicy, default_system_prompt: str) -> Conversation:
    """Apply the package's policy and merge what stands in a row."""
    messages, closing = split_closing(request.messages)
    text = system_text(messages) or default_system_prompt
    turns = _turns(messages)
    if closing:
        turns.append(Turn("user", system_text(closing)))
    toggle = policy.system_on if request.thinking else policy.system_off
    switched = policy.system_on or policy.system_off
    if not switched or policy.system_text == "system":
        return Conversation(joined(toggle, text), tuple(turns))
    first = next(number for number, turn in enumerate(turns) if turn.side == "user")
    turns[first] = replace(turns[first], preface=text)
    return Conversation(toggle, tuple(turns))


def _turns(messages: Sequence[Message]) -> list[Turn]:
    turns: list[Turn] = []
    calls: tuple[ToolCall, ...] = ()
    spoken = (message for message in messages if message.side != "system")
    for side, group in groupby(spoken, key=attrgetter("side")):
        said = list(group)
        text = joined(*(message.text for message in said if message.role != "tool"))
        if side == "assistant":
            calls = tuple(call for message in said for call in message.tool_calls or ())
            turns.append(Turn("assistant", text, calls=calls))
        else:
            results = [message for message in said if message.role == "tool"]
            turns.append(Turn("user", text, results=_in_order(results, calls)))
    return turns


def _in_order(results: list[Message], calls: Sequence[ToolCall]) -> tuple[Message, ...]:
    places = {call.id: place for place, call in enumerate(calls)}
    return tuple(sorted(results, key=lambda result: places.get(result.tool_call_id, len(calls))))
