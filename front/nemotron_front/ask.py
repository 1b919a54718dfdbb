"""What a caller asks for, whichever API it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nemotron_client import Options


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, read and checked.

    Attributes:
        model: The model as it was asked for; answers say it back.
        options: What goes to the server.
        messages: The conversation, in the server's shape.
        prompt: A complete prompt, in place of messages.
        n: Answers wanted.
        stream: Whether the answer is to come while it is written.
        include_usage: Whether the stream ends with the token counts.
        continuous_usage: Whether every chunk has those so far.
    """

    model: str
    options: Options
    messages: list[dict[str, Any]] | None = None
    prompt: str | None = None
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
