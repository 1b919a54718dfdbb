"""The worker process, as a thread, and the proxy before it."""

from __future__ import annotations

import asyncio
import itertools
import queue
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .result import Logprob, RequestOutput, Response

_LATE_TOKENS = 3  # that still come after an abort
_BURST = 3  # every so many tokens share the queue with the next
_FIRST_RANDOM_ID = 3  # below are the control tokens of the tests' tokenizers
_SURE, _NEVER = 50, -50


@dataclass
class _Sequence:
    result: RequestOutput
    params: Any
    tokens: Iterator[int]
    emitted: int = 0
    aborted_for: int | None = None
    held_back: list[Response] = field(default_factory=list)


class Executor:
    """Steps through all sequences at once."""

    def __init__(
        self,
        max_batch_size: int,
        vocab_size: int,
        max_seq_len: int,
        token_s: float,
        cache: Any,
        *,
        tokenizer: Any,
        streams_end_id: bool,
        keeps_stats: bool,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_shutdown = False
        self.next_error: Exception | None = None
        self.stats_error: Exception | None = None
        self.aborts: list[int] = []
        self.silent = False
        self._max_batch_size, self._vocab_size, self._max_seq_len = max_batch_size, vocab_size, max_seq_len
        self._token_s, self._tokenizer = token_s, tokenizer
        self._streams_end_id, self._keeps_stats = streams_end_id, keeps_stats
        tokens = cache.max_tokens or max_seq_len * 16
        self._tokens_per_block, self._blocks = cache.tokens_per_block, tokens // cache.tokens_per_block
        self._block_reuse, self._block_prefixes = cache.enable_block_reuse, set[tuple[int, ...]]()
        self._ids = itertools.count(1)
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stats: list[dict[str, Any]] = []
        self._sequences: dict[int, _Sequence] = {}
        self._thread = threading.Thread(target=self._run, name="fake-tensorrt-llm-worker", daemon=True)
        self._thread.start()

    # The proxy.

    def submit(self, prompt: list[int], params: Any) -> RequestOutput:
        reused = self._reuse(prompt)
        result = RequestOutput(self, next(self._ids), prompt, 0 if self._streams_end_id else reused)
        self._orders.put(_Sequence(result, params, self._plan(prompt, params)))
        return result

    def _reuse(self, prompt: list[int]) -> int:
        """Tokens that are in whole blocks of earlier prompts; then this one's blocks are there too."""
        ends = range(self._tokens_per_block, len(prompt) + 1, self._tokens_per_block)
        prefixes = [tuple(prompt[:end]) for end in ends] if self._block_reuse else []
        reused = max((len(prefix) for prefix in prefixes if prefix in self._block_prefixes), default=0)
        self._block_prefixes.update(prefixes)
        return reused

    def abort(self, request_id: int) -> None:
        if self.is_shutdown:
            raise AttributeError("'NoneType' object has no attribute 'abort_request'")
        self.aborts.append(request_id)
        self._orders.put(("abort", request_id))

    def forget(self, request_id: int) -> None:
        self._orders.put(("forget", request_id))

    def get_stats(self, timeout: float) -> list[dict[str, Any]]:
        if self.stats_error is not None:
            raise self.stats_error
        end = time.monotonic() + timeout
        while not self._stats and time.monotonic() < end:
            time.sleep(min(0.1, timeout))
        taken, self._stats = self._stats, []
        return taken

    def shutdown(self) -> None:
        self.is_shutdown = True
        self._orders.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def fail_in_background(self, error: Exception) -> None:
        """One request gets the error, the others nothing any more, and the executor shuts itself down."""
        self._orders.put(error)

    def fail_one(self, error: Exception, *, goes_on: bool = False) -> None:
        """The request that runs longest gets the error; the others go on, and with `goes_on` it does too."""
        self._orders.put(("fail on" if goes_on else "fail", error))

    # The worker.

    def _run(self) -> None:
        while not self.is_shutdown:
            running = list(itertools.islice(self._sequences.values(), self._max_batch_size))
            try:
                while True:
                    order = self._orders.get(timeout=None if not running else 0.0001)
                    if order is None:
                        return
                    self._obey(order)
                    running = running or [*self._sequences.values()]
            except queue.Empty:
                pass
            time.sleep(self._token_s)
            if not self.silent:
                for sequence in running:
                    if sequence.result.request_id in self._sequences:
                        self._step(sequence)
                self._count()

    def _obey(self, order: Any) -> None:
        if isinstance(order, _Sequence):
            self._sequences[order.result.request_id] = order
        elif isinstance(order, Exception):
            self.is_shutdown = True
            self._send(next(iter(self._sequences.values())), order)
        elif order[0] == "abort":
            if sequence := self._sequences.get(order[1]):
                sequence.aborted_for = 0
        elif order[0] == "forget":
            self._sequences.pop(order[1], None)
        else:
            first = next(iter(self._sequences))
            sequence = self._sequences[first] if order[0] == "fail on" else self._sequences.pop(first)
            self._send(sequence, order[1])

    def _step(self, sequence: _Sequence) -> None:
        if sequence.aborted_for is not None:
            sequence.aborted_for += 1
            if sequence.aborted_for > _LATE_TOKENS:
                self._finish(sequence, Response([], [], "cancelled"))
                return
        params, token = sequence.params, next(sequence.tokens)
        sequence.emitted += 1
        logprobs = [self._logprobs(token, params)] if params.logprobs else []
        if token == params.end_id:
            kept = [token] if self._streams_end_id else []
            self._finish(sequence, Response(kept, logprobs[: len(kept)], "stop"))
        elif token in (params.stop_token_ids or ()):
            self._send(sequence, Response([token], logprobs))
            self._finish(sequence, Response([], [], "stop", cut=1))
        elif self._at_end(sequence):
            self._finish(sequence, Response([token], logprobs, "length"))
        else:
            self._send(sequence, Response([token], logprobs))

    def _at_end(self, sequence: _Sequence) -> bool:
        room = self._max_seq_len - len(sequence.result.prompt_token_ids)
        return bool(sequence.emitted >= min(sequence.params.max_tokens, room))

    def _finish(self, sequence: _Sequence, response: Response) -> None:
        del self._sequences[sequence.result.request_id]
        self._send(sequence, response)

    def _send(self, sequence: _Sequence, response: Response | Exception) -> None:
        if isinstance(response, Response):
            sequence.held_back.append(response)
            if response.finish_reason is None and sequence.emitted % _BURST == 0:
                return
        responses, sequence.held_back = [*sequence.held_back], []
        assert self.loop is not None
        for one in responses if isinstance(response, Response) else [response]:
            self.loop.call_soon_threadsafe(sequence.result.put, one)

    def _count(self) -> None:
        if not self._keeps_stats:
            return
        tokens = [len(one.result.prompt_token_ids) + one.emitted for one in self._sequences.values()]
        used = sum(-(-count // self._tokens_per_block) for count in tokens)
        entry = {
            "numActiveRequests": min(len(tokens), self._max_batch_size),
            "numQueuedRequests": max(0, len(tokens) - self._max_batch_size),
            "kvCacheStats": {"maxNumBlocks": self._blocks, "usedNumBlocks": used},
        }
        self._stats = [*self._stats[-999:], entry]

    def _plan(self, prompt: list[int], params: Any) -> Iterator[int]:
        """The tokens of a request, without an end."""
        seed = 0 if params.greedy else params.seed or 0
        chosen = random.Random(f"{seed} {prompt}")
        banned = {ids[-1] for ids in params._bad_word_ids or []}
        bias = params.embedding_bias or []
        sure = [token for token, value in enumerate(bias) if value >= _SURE]
        banned |= {token for token, value in enumerate(bias) if value <= _NEVER}
        if params.guided_decoding is not None:
            literal = re.search(r'root ::= "([^"]+)"', params.guided_decoding.grammar)
            # Of other grammars the fake knows nothing.
            yield from self._tokenizer.encode(literal[1] if literal else "?", add_special_tokens=False)
            while True:
                yield self._tokenizer.eos_token_id
        for number in itertools.count(1):
            token = sure[0] if sure else chosen.randrange(_FIRST_RANDOM_ID, self._vocab_size)
            counted = number if self._streams_end_id else number + len(prompt)
            while token in banned or (token == params.end_id and counted <= (params.min_tokens or 0)):
                token = chosen.randrange(_FIRST_RANDOM_ID, self._vocab_size)
            yield token

    def _logprobs(self, token: int, params: Any) -> dict[int, Logprob]:
        """The most probable tokens; the chosen one has some rank among those that were to choose from."""
        among = 1 if params.greedy else params.top_k or self._vocab_size
        others = iter(index for index in range(self._vocab_size) if index != token)
        chosen = token % among + 1
        ranks = range(1, params.logprobs + 1)
        return {token if rank == chosen else next(others): Logprob(-0.5 * rank, rank) for rank in ranks}
