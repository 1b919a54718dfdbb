"""The one small interface between the serving stack and whatever generates tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from nemotron_serving.contract import LIBRARY_OPTIONS, MOST_LOGPROBS
from nemotron_serving.features import Feature

EngineFinish = Literal["stop", "length"]
_GREEDY_BELOW = 1e-6  # dividing logits by less overflows


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the next token is chosen.

    Attributes:
        temperature: 0 is greedy.
        top_p: In (0, 1]; 1 keeps all tokens.
        top_k: 0 keeps all tokens.
        seed: None lets the engine choose.
        repetition_penalty: 1 changes nothing. This and the next two need the feature `penalties` for anything else.
        presence_penalty: 0 changes nothing.
        frequency_penalty: 0 changes nothing.
        min_tokens: No stop token before this many output tokens. More than 1 needs the feature `min_tokens`.
        bad_words: Texts that the output must not contain. Needs the feature `bad_words`.
        logit_bias: What is added to the logits, by token id. Needs the feature `logit_bias`.
        logprobs: None for no log probabilities; else how many alternatives come with each chosen token's. 0 needs the
            feature `logprobs`, more need `top_logprobs`, and a choice among more than `MOST_LOGPROBS` tokens needs
            `sampled_logprobs`.
        min_p: Tokens less probable than this share of the most probable one's are left out; 0 keeps all tokens. More
            needs the feature `min_p`.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    bad_words: tuple[str, ...] = ()
    logit_bias: dict[int, float] = msgspec.field(default_factory=dict)
    logprobs: int | None = None
    min_p: float = 0.0

    @property
    def handed_on(self) -> dict[str, float]:
        """What asks for something of an engine's library, under the name that both libraries know it by."""
        values = {option.name: (getattr(self, option.name), option.only or ()) for option in LIBRARY_OPTIONS}
        return {name: value for name, (value, asks_nothing) in values.items() if value not in asks_nothing}

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature < _GREEDY_BELOW or self.top_k == 1 or self.min_p == 1

    @property
    def chosen_among_few(self) -> bool:
        """Whether the chosen token is always one of the `MOST_LOGPROBS` most probable ones."""
        return self.greedy or 1 <= self.top_k <= MOST_LOGPROBS


@dataclass(frozen=True)
class EngineRequest:
    """One sequence to generate.

    Attributes:
        request_id: Unique among the requests that the engine has at this time.
        prompt_ids: Token ids of the prompt.
        max_tokens: Output tokens at most, at least 1.
        stop_token_ids: Tokens that end the sequence.
        guide: Grammar of the output in xgrammar's EBNF, with a rule `root`; None leaves the output free. Needs the
            feature `guided_decoding`.
        watched: Numbers of output tokens, the first and the last, between which the caller may abort the request after
            any token. An engine may give it a moment for that, rather than compute a token for nobody. None: an abort
            is not expected.
    """

    request_id: int
    prompt_ids: list[int]
    max_tokens: int
    sampling: Sampling
    stop_token_ids: frozenset[int]
    guide: str | None = None
    watched: tuple[int, int] | None = None


LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not have; OpenAI's value for it."""


class TokenLogprob(NamedTuple):
    """Natural logarithm of a token's probability, and the most probable tokens in its place as (id, logarithm).

    At least `LOWEST_LOGPROB`.
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """News of one request.

    Attributes:
        token_ids: New output tokens, never a stop token.
        finish_reason: Set in the last delta of a request that ended by itself.
        error: Set in the last delta of a request that the engine could not finish.
        logprobs: One for each of `token_ids` where the request asked for them, else empty.
        cached_tokens: In the first delta, tokens of the prompt that came from the prefix cache; None where the engine
            does not say.
        refused: Whether the error is the request's fault: its grammar cannot be prepared.
    """

    token_ids: list[int]
    finish_reason: EngineFinish | None = None
    error: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int | None = None
    refused: bool = False


@dataclass(frozen=True)
class EngineLimits:
    """What the engine can hold.

    Attributes:
        max_batch_size: Sequences at once.
        max_seq_len: Tokens of a sequence.
        kv_cache_tokens: Tokens in the KV cache.
        max_num_tokens: Tokens that one step processes. A longer prompt takes several steps, and the prefill of two
            such prompts side by side takes as long as one after the other.
        step_s: Seconds that a full step may take, by what was measured at start; 0 where a step is always short.
        on_cpu: Whether it computes on the machine's CPU, so that whatever else does takes from it.
    """

    max_batch_size: int
    max_seq_len: int
    kv_cache_tokens: int
    max_num_tokens: int = 2**31 - 1
    step_s: float = 0.0
    on_cpu: bool = False


@dataclass(frozen=True)
class EngineStats:
    """What an engine does at one moment.

    Attributes:
        running: Requests that generate.
        waiting: Requests that wait in the engine.
        kv_cache_used: Share of the KV cache in use, 0 to 1.
        steps: Grows while the engine works on requests, with each step or at least once a second, also where a step
            gives no token: one that has requests and whose number stays hangs.
    """

    running: int
    waiting: int
    kv_cache_used: float
    steps: int = 0


OnDelta = Callable[[Delta], None]


class Engine(Protocol):
    """Generates many sequences at once (in-flight batching)."""

    @property
    def limits(self) -> EngineLimits:
        """What the engine can hold."""

    @property
    def features(self) -> frozenset[Feature]:
        """What the engine can do beyond plain sampling."""

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        """Queue a request and return at once.

        `on_delta` is called from the engine's thread and must not block. The last delta carries a finish reason
        or an error; nothing follows it.

        Raises:
            EngineError: the engine has failed or was closed.
        """

    def abort(self, request_id: int) -> None:
        """Stop a request soon; never raises, and ignores unknown ids.

        Deltas on their way may still arrive, a last one need not.
        """

    def stats(self) -> EngineStats:
        """What the engine does at this moment."""

    def close(self) -> None:
        """Abort everything and free the engine. Waits until its thread has ended."""
