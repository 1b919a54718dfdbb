"""What the caller of a stream gets at one time, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from nemotron_serving.contract import FinishReason
from nemotron_serving.engine import TokenLogprob
from nemotron_serving.output.assembler import OutputRules

_UNKNOWN = -1


@dataclass(frozen=True)
class Response:
    """What the caller gets at one time.

    Attributes:
        slot: Of the stream, while it is in flight: no other has it.
        number: The stream's number, which tells it apart from the others that have the slot before and after it.
        expires: When postprocessing need not expect anything more of the stream.
        sequence: How many responses of the stream went before.
        token_ids: New output tokens.
        prompt_ids: The prompt's ids, for a token-level caller that wants them in front of the output; else empty.
        logprobs: One for each of `token_ids` where the request asked for it, else empty.
        cum_log_prob: Sum of all log probabilities so far; None where the request did not ask for them.
        num_input_tokens: Tokens of the prompt.
        num_output_tokens: Output tokens so far.
        num_cached_tokens: Tokens that the engine took from its prefix cache when it last began; None if it does not
            say.
        states: Outputs of the ensemble that postprocessing hands on, by name, where they say something.
        for_text: Whether postprocessing follows; a token-level caller gets these responses as they are.
        begins: In the first response, how postprocessing reads the stream.
        finish_reason: Set in the last response.
        error: Set in the last response of a request that failed.
        refused: Whether the error is the caller's; it begins with the field then.
    """

    slot: int
    number: int
    expires: float
    sequence: int
    token_ids: list[int]
    prompt_ids: list[int]
    logprobs: list[TokenLogprob]
    cum_log_prob: float | None
    num_input_tokens: int
    num_output_tokens: int
    num_cached_tokens: int | None
    states: dict[str, bool]
    for_text: bool
    begins: OutputRules | None
    finish_reason: FinishReason | None
    error: str | None
    refused: bool = False

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.finish_reason is not None or self.error is not None

    @property
    def counts(self) -> dict[str, Any]:
        """The outputs that the generating model has for every caller, by name."""
        values: dict[str, Any] = {
            "num_input_tokens": self.num_input_tokens,
            "num_output_tokens": self.num_output_tokens,
            "num_cached_tokens": _UNKNOWN if self.num_cached_tokens is None else self.num_cached_tokens,
        }
        if self.cum_log_prob is not None:
            values["output_log_probs"] = [one.logprob for one in self.logprobs]
            values["cum_log_probs"] = self.cum_log_prob
        return values


class Sink(Protocol):
    """Where a stream's responses go."""

    def send(self, response: Response) -> None:
        """Deliver a response; may block for as long as the receiver takes."""

    def is_cancelled(self) -> bool:
        """Whether the receiver is known to have left."""
