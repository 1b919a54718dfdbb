"""What a user of the load test sends, and how the requests of one conversation are drawn.

The requests of a conversation have in common the chance behind them, thinking, limits and leaving.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from nemotron_loadtest.scenario import Cancel, Length, Sized, Workload, draw_delay, draw_length

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
        wait_s: Time from the end of the answer before until this is sent; 0 in the first turn.
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


class Drawn:
    """Draws the requests of one conversation.

    All chance is a function of the seed and the conversation's number, so it does not matter which worker has it.

    Attributes:
        number: Number of the conversation.
        random: The chance behind it.
        thinking: Whether its requests ask for thinking.
    """

    def __init__(self, workload: Workload, cancel: Cancel, seed: int, number: int) -> None:
        self.number = number
        self.random = Random(f"{seed}/conversation/{number}")  # noqa: S311 - not for secrets
        self.thinking = self.random.random() < workload.thinking_share
        self._workload = workload
        self._cancel = cancel
        self._turn = 0

    def length(self, length: Length) -> int:
        """A number of tokens."""
        return draw_length(length, self.random)

    def output_tokens(self, workload: Sized) -> int:
        """How long the answer shall be."""
        if self.thinking and workload.thinking_output_tokens is not None:
            return self.length(workload.thinking_output_tokens)
        return self.length(workload.output_tokens)

    def request(
        self,
        messages: tuple[dict[str, Any], ...],
        options: dict[str, Any],
        *,
        prompt: str | None = None,
        thinking: bool | None = None,
        wait_s: float = 0.0,
    ) -> RequestSpec:
        """The next request.

        Args:
            messages: The conversation.
            options: Besides those that the workload gives to all.
            prompt: A complete prompt in its place.
            thinking: Whether this request thinks; None is as the conversation does.
            wait_s: See `RequestSpec`.
        """
        thinking = self.thinking if thinking is None else thinking
        budget = self._workload.max_thinking_tokens
        if thinking and budget is not None:
            options = {"max_thinking_tokens": self.length(budget), **options}
        leaves = self.random.random() < self._cancel.share
        turn, self._turn = self._turn, self._turn + 1
        return RequestSpec(
            messages=messages,
            prompt=prompt,
            options=self._workload.options | options,
            thinking=thinking,
            conversation=self.number,
            turn=turn,
            wait_s=wait_s,
            cancel_after_s=draw_delay(self._cancel.after_s, self.random) if leaves else None,
        )
