"""What a reply is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReasoningDelta:
    """New text of the thinking."""

    text: str


@dataclass(frozen=True)
class ContentDelta:
    """New text of the answer."""

    text: str


Event = ReasoningDelta | ContentDelta


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
        finish_reason: `stop`, `length`, `cancelled` or `timeout`.
        request_id: The request, as the server's log knows it.
    """

    content: str
    reasoning_content: str
    finish_reason: str
    usage: Usage
    request_id: str
