"""What a chat format is given and gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nemotron_serving.chat.controls import PromptPart
from nemotron_serving.chat.messages import Message
from nemotron_serving.chat.tools import Tool


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
