"""One request of a load test: what was asked, when, and what came back when.

Everything else (metrics, verdicts, reports) is worked out from these records, which are written to `samples.jsonl` as
they are made and travel from Locust's workers to its master in the same form.

All times are seconds on the monotonic clock of the machine, less the start of the run (`RunClock.now`), so that the
workers of one machine share them.

A run of an hour has millions of these records. They hold no cycles, and the garbage collector is told so: its pauses
would be the load generator's lag.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["ok", "error", "cancelled", "incomplete"]
Counted = Literal["each", "end", "never"]
"""When a server said how many tokens there were."""


class Arrival(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One response of a stream that brought tokens.

    Attributes:
        at_s: When it came.
        output_tokens: Output tokens of the request so far, thinking included.
    """

    at_s: float
    output_tokens: int


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A request that was sent.

    Attributes:
        request_id: Its name in the server's log.
        user: Kind of user: `grpc_stream`, `http_stream`, `http_generate` or `openai_stream`.
        thinking: Whether thinking was asked for.
        turn: Place in a conversation, from 0.
        intended_s: When the schedule wanted it sent; in a closed loop the same as `started_s`.
        started_s: When it was sent.
        first_answer_s: When the first text of the answer or the first tool call came; None without any.
        ended_s: When the last response or the error came.
        arrivals: The responses that brought tokens, in order; one at the end for a user that does not stream.
        prompt_tokens: Tokens of the prompt, as the server counted; 0 where it did not say.
        output_tokens: Tokens of thinking and answer.
        reasoning_tokens: The tokens of thinking among them; None where the server does not say.
        cached_tokens: Tokens of the prompt that came from the prefix cache; None where the server does not say.
        counted: `each`: the server said the output tokens with every response; `end`: only when the answer was whole,
            so those of each response are their even share; `never`: each response stands for one token.
        finish_reason: Why the answer ended, as the server says; empty without a whole answer.
        outcome: `ok`; `error`, with `error_type`; `cancelled`: left early on purpose, as the scenario asks;
            `incomplete`: the run ended before it.
        error_type: Name of the client's error class; empty without one.
        worker: Which process sent it.
    """

    request_id: str
    user: str
    thinking: bool
    intended_s: float
    started_s: float
    ended_s: float
    outcome: Outcome
    turn: int = 0
    first_answer_s: float | None = None
    arrivals: tuple[Arrival, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int | None = 0
    cached_tokens: int | None = None
    counted: Counted = "each"
    finish_reason: str = ""
    error_type: str = ""
    worker: str = "0"

    @property
    def streams(self) -> bool:
        """Whether its user sees an answer before it is whole."""
        return self.user != "http_generate"

    @property
    def first_token_s(self) -> float | None:
        """When the first response with a token came."""
        return self.arrivals[0].at_s if self.arrivals else None


def encode_sample(sample: Sample) -> bytes:
    """One line of samples.jsonl, without its end."""
    return msgspec.json.encode(sample)


def decode_sample(line: bytes) -> Sample:
    """Read a line of samples.jsonl.

    Raises:
        msgspec.ValidationError: it is no sample.
    """
    return msgspec.json.decode(line, type=Sample)
