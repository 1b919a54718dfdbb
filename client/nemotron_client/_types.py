"""What a reply is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReasoningDelta:
    """New text of the thinking."""

    text: str


@dataclass(frozen=True)
class ContentDelta:
    """New text of the answer."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called.

    Attributes:
        id: To be sent back with the result, as `tool_call_id`.
        arguments: A JSON object, as text.
    """

    id: str
    name: str
    arguments: str

    def as_message_part(self) -> dict[str, Any]:
        """The call in OpenAI's shape, for `tool_calls` of the assistant's message when the conversation goes on."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class ToolCallDelta:
    """A tool call that is complete."""

    call: ToolCall


Event = ReasoningDelta | ContentDelta | ToolCallDelta


@dataclass(frozen=True)
class Usage:
    """Token counts: the prompt, all output, and the part of the output that is thinking."""

    prompt_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True)
class Reply:
    """A whole answer.

    Attributes:
        finish_reason: `stop`, `length`, `tool_calls`, `repetition`, `cancelled` or `timeout`.
        thinking_budget_reached: Whether `max_thinking_tokens` has ended the thinking.
        request_id: The request, as the server's log knows it.
    """

    content: str
    reasoning_content: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    thinking_budget_reached: bool
    usage: Usage
    request_id: str
