"""The content of engine/simulated.json: how the simulated engine behaves. `nemotron-build simulated` writes it."""

from __future__ import annotations

import re

import msgspec

SIMULATED_CONFIG = "simulated.json"


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine generates for a prompt that matches, and what goes wrong meanwhile.

    Attributes:
        match: Regular expression searched in the prompt's text; the first script that matches is played, and an
            empty one matches everything.
        thinking: Text generated before the answer, without the tags.
        answer: Text of the answer. With `thinking` empty too, random tokens are generated up to max_tokens.
        fail_after_tokens: Output tokens after which the engine reports an error; None never fails.
        stall_after_tokens: Output tokens after which the request pauses once; None never pauses.
        stall_ms: Length of that pause in milliseconds.
        ttft_ms: Replaces `SimulatedConfig.ttft_ms` for this script; None keeps it.
        token_ms: Replaces `SimulatedConfig.token_ms` for this script; None keeps it.
    """

    match: str
    thinking: str = ""
    answer: str = ""
    fail_after_tokens: int | None = None
    stall_after_tokens: int | None = None
    stall_ms: float = 0
    ttft_ms: float | None = None
    token_ms: float | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"match {self.match!r} is not a regular expression: {error}") from None
        _at_least(
            0,
            fail_after_tokens=self.fail_after_tokens,
            stall_after_tokens=self.stall_after_tokens,
            stall_ms=self.stall_ms,
            ttft_ms=self.ttft_ms,
            token_ms=self.token_ms,
        )
        if self.stall_ms and self.stall_after_tokens is None:
            raise ValueError("stall_ms needs stall_after_tokens, which says when to pause")


class SimulatedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Timing, sizes and texts of the simulated engine.

    A request among `b` running ones takes `ttft_ms` to its first token and
    `token_ms * (1 + slowdown * (b - 1))` to each further one.

    Attributes:
        ttft_ms: Time of prompt processing, in milliseconds.
        token_ms: Time per output token of a request that runs alone, in milliseconds.
        slowdown: What each further running request adds to that time, as a share of it.
        max_batch_size: Requests that generate at once.
        max_seq_len: Prompt plus output tokens of a request.
        kv_cache_tokens: Tokens that all running requests hold at most.
        seed: Start of the random tokens.
        vocab_size: Random tokens are ids below it.
        scripts: Tried in order.
    """

    ttft_ms: float = 0
    token_ms: float = 0
    slowdown: float = 0
    max_batch_size: int
    max_seq_len: int
    kv_cache_tokens: int
    seed: int = 0
    vocab_size: int
    scripts: tuple[Script, ...]

    def __post_init__(self) -> None:
        _at_least(0, ttft_ms=self.ttft_ms, token_ms=self.token_ms, slowdown=self.slowdown)
        _at_least(
            1,
            max_batch_size=self.max_batch_size,
            max_seq_len=self.max_seq_len,
            kv_cache_tokens=self.kv_cache_tokens,
            vocab_size=self.vocab_size,
        )


def _at_least(least: int, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not least <= value < float("inf"):
            raise ValueError(f"{name} is {value}, expected a finite number of at least {least}")
