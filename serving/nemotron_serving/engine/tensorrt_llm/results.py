"""What TensorRT-LLM gives back: a request's result object, which changes under one's hands, to deltas; its statistics.

The statistics are those of an iteration, the last entry that the LLM has; each of its keys may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nemotron_serving.engine.base import LOWEST_LOGPROB, Delta, EngineFinish, EngineRequest, OnDelta, TokenLogprob

_FINISHES: dict[str | None, EngineFinish] = {"stop": "stop", "length": "length"}


@dataclass(eq=False)
class Run:
    """A request that TensorRT-LLM works on.

    Attributes:
        request: What was asked for.
        on_delta: Who gets the deltas; None when nobody wants them any more.
        counts_cached: Whether TensorRT-LLM says what came from the prefix cache; on the engine flow it is always 0.
        result: TensorRT-LLM's RequestOutput; None before it was submitted.
        started: Whether there were tokens.
    """

    request: EngineRequest
    on_delta: OnDelta | None
    counts_cached: bool = True
    result: Any = None
    started: bool = False
    _emitted: int = field(default=0, init=False)

    def read(self, output: Any) -> Delta | None:
        """What is new in the result after a response; None if nothing is.

        The token list is cumulative and may get shorter at its end, so an offset of our own says what was delivered.
        A stop token ends the output whether TensorRT-LLM leaves it in the list or not, and whether it has stopped
        there or not. One that comes before the end is held back: the response that follows says that it was the end.
        """
        completion = output.outputs[0]
        ids: list[int] = completion.token_ids
        end = self._emitted
        while end < len(ids) and ids[end] not in self.request.stop_token_ids:
            end += 1
        token_ids = ids[self._emitted : end]
        reason: EngineFinish | None = None
        error: str | None = None
        if end + 1 < len(ids) or (output.finished and end < len(ids)):
            reason = "stop"
        elif output.finished:
            reason = _FINISHES.get(completion.finish_reason)
            error = None if reason else f"TensorRT-LLM ended the request: {completion.finish_reason}."
        logprobs = self._logprobs(completion, token_ids)
        if len(logprobs) < len(token_ids) and self.request.sampling.logprobs is not None:
            token_ids, logprobs, reason = [], (), None
            error = "TensorRT-LLM gave no log probability for an output token."
        if not (token_ids or reason or error):
            return None
        cached_tokens = int(output.cached_tokens) if self.counts_cached and not self.started else None
        self.started = True
        self._emitted += len(token_ids)
        return Delta(token_ids, reason, error, logprobs, cached_tokens)

    def _logprobs(self, completion: Any, token_ids: list[int]) -> tuple[TokenLogprob, ...]:
        wanted = self.request.sampling.logprobs
        if wanted is None:
            return ()
        entries = completion.logprobs[self._emitted : self._emitted + len(token_ids)]
        found = (_token_logprob(token, entry, wanted) for token, entry in zip(token_ids, entries, strict=False))
        return tuple(one for one in found if one is not None)


def scheduled(entry: dict[str, Any]) -> int:
    """Requests in the batch, by an entry of the statistics."""
    return int(entry.get("numActiveRequests", 0))


def kv_cache_used(entry: dict[str, Any]) -> float:
    """Share of the KV cache in use, 0 to 1, by an entry of the statistics."""
    cache = entry.get("kvCacheStats", {})
    blocks = cache.get("maxNumBlocks", 0)
    return cache.get("usedNumBlocks", 0) / blocks if blocks else 0.0


def kv_cache_tokens(entry: dict[str, Any], tokens_per_block: int) -> int:
    """Tokens that the KV cache holds; 0 if the entry of the statistics does not say."""
    return int(entry.get("kvCacheStats", {}).get("maxNumBlocks", 0)) * tokens_per_block


def _token_logprob(token: int, entry: Any, wanted: int) -> TokenLogprob | None:
    """One position: the tokens that were most probable, by id, or the chosen one's logarithm alone."""
    if not isinstance(entry, dict):
        return TokenLogprob(_finite(entry))
    if token not in entry:
        return None
    ranked = sorted(((index, _finite(one.logprob)) for index, one in entry.items()), key=lambda pair: -pair[1])
    return TokenLogprob(_finite(entry[token].logprob), tuple(ranked[:wanted]))


def _finite(logprob: float) -> float:
    return max(LOWEST_LOGPROB, float(logprob))
