"""The thinking budget: how many tokens a model may think, and when its thinking is closed for it.

A budget is closed at the first newline after it, at most a tenth of it later, and in the middle of no character: the
grace. What the model thinks, the closing tag, and an answer have to fit into a request's `max_tokens`, so the budget
gives way to them. `Stream` closes the thinking; a model that closes its own in time is left alone. A caller that wants
the answer now gives the thinking a budget that is over.
"""

from __future__ import annotations

import msgspec

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.output.tags import CLOSE_TAG
from nemotron_serving.package import ThinkingPolicy

AFTER_CLOSE_TAG = "\n\n"  # what models put between their thinking and the answer
THINKING_CLOSE = f"\n{CLOSE_TAG}{AFTER_CLOSE_TAG}"

_GRACE = 10  # one token in so many of the budget, to wait for a newline
_MAX_CHARACTER_TOKENS = 3  # that a UTF-8 character may still need once it has begun


class ThinkingBudget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When thinking is closed for the model.

    Attributes:
        max_tokens: Thinking tokens after which the next newline closes it.
        grace_tokens: Tokens to wait for that newline at most.
    """

    max_tokens: int
    grace_tokens: int

    @classmethod
    def over_now(cls, num_tokens: int) -> ThinkingBudget:
        """One that ends with the next character, after so many output tokens. A model thinks one token at least."""
        return cls(max(1, num_tokens), 0)

    def is_over(self, num_tokens: int, *, ends_line: bool, mid_character: bool) -> bool:
        """Whether the thinking is to be closed behind this token.

        Args:
            num_tokens: Output tokens so far, all of them thinking.
            ends_line: Whether the last of them ends in a newline.
            mid_character: Whether it ends within a character.
        """
        # Past the grace, only a character that has begun is still waited for.
        over_grace = num_tokens - self.max_tokens - self.grace_tokens
        return num_tokens >= self.max_tokens and (
            ends_line or (over_grace >= 0 and not mid_character) or over_grace >= _MAX_CHARACTER_TOKENS
        )

    @property
    def watched(self) -> tuple[int, int]:
        """From which number of output tokens to which it may be closed; see `EngineRequest.watched`."""
        return self.max_tokens, self.max_tokens + self.grace_tokens + _MAX_CHARACTER_TOKENS


def resolve_budget(
    wanted: int | None, policy: ThinkingPolicy, max_tokens: int, close_ids: tuple[int, ...], *, needed: bool
) -> ThinkingBudget | None:
    """The budget of a request that thinks; None leaves the end of the thinking to the model.

    Args:
        wanted: The caller's `max_thinking_tokens`; None if nothing was said.
        policy: The package's, for what was not said and for the answer's share.
        max_tokens: Output tokens of the request in all.
        close_ids: Token ids of `THINKING_CLOSE`.
        needed: Whether there has to be one, because a guided answer begins where the thinking ends.

    Raises:
        InvalidRequestError: `max_tokens` is too few for thinking and an answer.
    """
    budget = policy.max_thinking_tokens if wanted is None else wanted
    if budget is None and not needed:
        return None
    # One token of thinking, the closing tag and one of the answer.
    least = len(close_ids) + 2
    if max_tokens < least:
        if wanted is not None or needed:
            raise InvalidRequestError("max_tokens", f"{max_tokens} is too few to think and answer; send {least}")
        return None
    # The grace and the closing tag must fit in front of the answer's reserve as well.
    room = (max_tokens - policy.min_answer_tokens - len(close_ids)) * _GRACE // (_GRACE + 1)
    budget = max(1, room if budget is None else min(budget, room))
    return ThinkingBudget(budget, budget // _GRACE)
