"""What a user of the load test sends, and how a conversation goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from nemotron_client import Reply


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be sent.

    Attributes:
        messages: The conversation, in OpenAI's shape; or
        prompt: a complete prompt, control tokens included.
        options: For the client's `stream_chat` or `stream_generate`, thinking apart.
        thinking: Whether thinking is asked for; of a complete prompt, whether it opens with thinking.
        conversation: Its number in the whole run, over all workers.
        turn: Place in the conversation, from 0.
        wait_s: From the end of the answer before until this is sent; 0 in the first turn.
        cancel_after_s: When its user leaves, from the start of the request; None for one who stays.
    """

    messages: tuple[dict[str, Any], ...] = ()
    prompt: str | None = None
    options: dict[str, Any] = {}
    thinking: bool = False
    conversation: int = 0
    turn: int = 0
    wait_s: float = 0.0
    cancel_after_s: float | None = None


class Conversation(Protocol):
    """A user's way through one conversation."""

    def next_request(self, previous: Reply | None = None) -> RequestSpec | None:
        """The next request.

        Args:
            previous: The whole answer to the request before; None for the first one. A user whose request failed or who
                left leaves the conversation.

        Returns:
            None at the end of the conversation.
        """
        ...
