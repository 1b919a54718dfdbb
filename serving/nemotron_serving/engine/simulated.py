"""An engine without a model: scripted or random tokens at a set pace, with in-flight batching.

For tests, load tests and capacity work, and for trying a client. Its timing model is in `SimulatedConfig`.
"""

from __future__ import annotations

import collections
import math
import queue
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import msgspec
from tokenizers import Tokenizer

from nemotron_serving.clock import MACHINE_CLOCK, Clock
from nemotron_serving.engine.base import (
    Delta,
    EngineFinish,
    EngineLimits,
    EngineRequest,
    EngineStats,
    OnDelta,
    TokenLogprob,
)
from nemotron_serving.errors import EngineError, PackageError
from nemotron_serving.features import FEATURES, Feature
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.tags import CLOSE_TAG, OPEN_TAG
from nemotron_serving.package import Package

SIMULATED_CONFIG = "simulated.json"
"""The file in the package's engine/ that holds a `SimulatedConfig`; `nemotron-build simulated` writes it."""

_STEP_S = 0.25  # a model that works on a long prompt does so in steps
_ASSISTANT = "assistant\n"  # the end of the header of the assistant's turn, in every chat format here


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine generates for a prompt that matches, and what goes wrong meanwhile.

    Attributes:
        match: Regular expression searched in the prompt's text; the first script that matches is played, and an
            empty one matches everything.
        thinking: Text generated before the answer, without the tags.
        answer: Text of the answer. With `thinking` empty too, random tokens are generated up to max_tokens.
        seeds: Plays for requests with one of these seeds alone, so that repeats of a prompt get answers of their own;
            empty plays for all.
        as_is: The answer is all that is generated, tags included: no think block is written in front of it.
        fail_after_tokens: Output tokens after which the engine reports an error; None never fails.
        stall_after_tokens: Output tokens after which the request pauses once; None never pauses.
        stall_ms: Length of that pause in milliseconds.
        ttft_ms: Replaces `SimulatedConfig.ttft_ms` for this script; None keeps it.
        token_ms: Replaces `SimulatedConfig.token_ms` for this script; None keeps it.
    """

    match: str
    thinking: str = ""
    answer: str = ""
    seeds: tuple[int, ...] = ()
    as_is: bool = False
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
        if self.as_is and self.thinking:
            raise ValueError("as_is plays the answer alone; write the thinking into it, with its tags")

    def plays(self, prompt: str, seed: int | None) -> bool:
        """Whether it is for this prompt's text and seed."""
        return (not self.seeds or seed in self.seeds) and re.search(self.match, prompt) is not None


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


_NO_SCRIPT = Script(match="")


@dataclass
class _Running:
    request: EngineRequest
    on_delta: OnDelta
    script: Script
    tokens: Iterator[int]
    logprob: float
    next_at: float
    emitted: int = 0


class SimulatedEngine:
    """The `simulated` engine."""

    features: ClassVar[frozenset[Feature]] = frozenset(name for name, support in FEATURES.items() if support.simulated)

    def __init__(self, package: Package, clock: Clock = MACHINE_CLOCK) -> None:
        """Read engine/simulated.json.

        Args:
            package: The package.
            clock: Sets the pace.

        Raises:
            PackageError: a file that cannot be read, or sizes below the package's limits.
        """
        self._clock = clock
        path = package.engine_path / SIMULATED_CONFIG
        try:
            self._config = msgspec.json.decode(path.read_bytes(), type=SimulatedConfig)
        except (OSError, ValueError) as error:
            raise PackageError(f"{path} cannot be used: {error}. Build the package again.") from error
        config = self._config
        if config.kv_cache_tokens < package.serving.limits.max_seq_len:
            raise PackageError(
                f"{path}: kv_cache_tokens {config.kv_cache_tokens} is below the package's "
                f"max_seq_len {package.serving.limits.max_seq_len}."
            )
        self.limits = EngineLimits(config.max_batch_size, config.max_seq_len, config.kv_cache_tokens)
        system_on = package.serving.thinking.system_on
        self._switched_on = re.compile(rf"system\s+{re.escape(system_on)}" if system_on else r"(?!)")
        self._vocabulary = Vocabulary.load(package.tokenizer_path)
        self._tokenizer = Tokenizer.from_file(str(package.tokenizer_path))
        self._inbox: queue.SimpleQueue[Callable[[], None]] = clock.queue()
        self._waiting: collections.OrderedDict[int, tuple[EngineRequest, OnDelta]] = collections.OrderedDict()
        self._running: dict[int, _Running] = {}
        self._steps = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="nemotron-simulated", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        """See `Engine.submit`."""
        if self._closed:
            raise EngineError("The engine was closed.")
        self._inbox.put(lambda: self._waiting.update({request.request_id: (request, on_delta)}))

    def abort(self, request_id: int) -> None:
        """See `Engine.abort`."""
        self._inbox.put(lambda: self._forget(request_id))

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        used = self._kv_tokens() / self._config.kv_cache_tokens
        return EngineStats(len(self._running), len(self._waiting), used, self._steps)

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True
        self._inbox.put(self._waiting.clear)
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            # Before waiting for orders: with nothing running, nothing but an order would end the wait.
            self._admit()
            self._take_orders()
            self._steps += 1
            now = self._clock.monotonic()
            for running in list(self._running.values()):
                if running.next_at <= now:
                    self._step(running)
        self._running.clear()

    def _take_orders(self) -> None:
        pause = None
        if self._running:
            until_next = min(running.next_at for running in self._running.values()) - self._clock.monotonic()
            pause = min(max(0.0, until_next), _STEP_S)
        try:
            self._inbox.get(timeout=pause)()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _forget(self, request_id: int) -> None:
        self._waiting.pop(request_id, None)
        self._running.pop(request_id, None)

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._config.max_batch_size:
            request, on_delta = next(iter(self._waiting.values()))
            if self._kv_tokens() + len(request.prompt_ids) + request.max_tokens > self._config.kv_cache_tokens:
                return
            del self._waiting[request.request_id]
            script, tokens, logprob = self._plan(request)
            ttft_ms = self._config.ttft_ms if script.ttft_ms is None else script.ttft_ms
            first_at = self._clock.monotonic() + ttft_ms / 1000
            self._running[request.request_id] = _Running(request, on_delta, script, tokens, logprob, first_at)

    def _kv_tokens(self) -> int:
        running = list(self._running.values())
        return sum(len(one.request.prompt_ids) + one.request.max_tokens for one in running)

    def _step(self, running: _Running) -> None:
        script, request = running.script, running.request
        if running.emitted == script.fail_after_tokens:
            del self._running[request.request_id]
            running.on_delta(Delta([], error=f"The script fails after {running.emitted} tokens."))
            return
        token = next(running.tokens, None)
        reason: EngineFinish | None = "stop" if token is None else None
        if token is not None:
            running.emitted += 1
            if running.emitted == request.max_tokens:
                reason = "length"
        if reason:
            del self._running[request.request_id]
        running.next_at += self._pause_s(running)
        wanted = token is not None and request.sampling.logprobs is not None
        logprobs = (TokenLogprob(running.logprob),) if wanted else ()
        running.on_delta(Delta([] if token is None else [token], reason, logprobs=logprobs))

    def _pause_s(self, running: _Running) -> float:
        script, config = running.script, self._config
        token_ms = config.token_ms if script.token_ms is None else script.token_ms
        pause_ms = token_ms * (1 + config.slowdown * (len(self._running) - 1))
        if running.emitted == script.stall_after_tokens:
            pause_ms += script.stall_ms
        return max(0.0, pause_ms) / 1000

    def _plan(self, request: EngineRequest) -> tuple[Script, Iterator[int], float]:
        """What is played, its tokens, and the log probability of each: a script has no choice."""
        text = self._vocabulary.decode(request.prompt_ids) if self._config.scripts else ""
        seed = request.sampling.seed
        script = next((one for one in self._config.scripts if one.plays(text, seed)), _NO_SCRIPT)
        if not script.thinking and not script.answer:
            choices = self._config.vocab_size - len(self._never_random(request))
            return script, self._random_tokens(request), -math.log(choices)
        reply = script.answer if script.as_is else f"{self._thinking_for(text, script)}{script.answer}"
        return script, iter(self._tokenizer.encode(reply, add_special_tokens=False).ids), 0.0

    def _thinking_for(self, prompt: str, script: Script) -> str:
        """The think block in front of the answer: all of it, the rest of it, or none."""
        _, opened, after = prompt.rpartition(_ASSISTANT)[2].rpartition(OPEN_TAG)
        close = f"{script.thinking}\n{CLOSE_TAG}\n\n"
        if opened:
            return "" if CLOSE_TAG in after else close
        # A model that is switched by its system prompt opens the block itself.
        return f"{OPEN_TAG}\n{close}" if self._switched_on.match(prompt) else ""

    def _random_tokens(self, request: EngineRequest) -> Iterator[int]:
        seed = request.sampling.seed if request.sampling.seed is not None else request.request_id
        chosen = random.Random(self._config.seed * 1_000_003 + seed)  # noqa: S311 - not for secrets
        size, never = self._config.vocab_size, self._never_random(request)
        while True:
            token = chosen.randrange(size)
            if token not in never:
                yield token

    def _never_random(self, request: EngineRequest) -> set[int]:
        never = request.stop_token_ids.union(self._vocabulary.special_ids.values())
        return {token for token in never if token < self._config.vocab_size}
