"""The process that runs OpenVINO GenAI's continuous batching: paged KV cache, prefix cache, in-flight batching.

A process of its own, because `ContinuousBatchingPipeline.step` holds Python's interpreter lock for its whole
length (tens of milliseconds): in the generating model's process it would hold up every response and new request.

Started as `python -m nemotron_serving.engine.openvino.worker FD`, where FD is a connected socket. Frames are
MessagePack: a `Start` comes in first and `Ready` or `Refused` goes out; then `Submit` and `Abort` come in and a
`StepResult` goes out after every step that gave something, and twice a second while steps give nothing. The end of the
socket ends the process.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino
import openvino_genai
from openvino_genai import py_openvino_genai

from nemotron_serving.cgroups import available_memory
from nemotron_serving.engine.base import LOWEST_LOGPROB, Delta, EngineFinish, EngineRequest, Sampling, TokenLogprob
from nemotron_serving.engine.openvino.compiler import TokenizerCompiler, output_config
from nemotron_serving.engine.openvino.cpu import isa_properties
from nemotron_serving.engine.openvino.frames import ORDERS, Ready, Refused, Start, StepResult, Submit
from nemotron_serving.engine.openvino.grammars import Form, GrammarError, Grammars, form_of, share_the_interpreter
from nemotron_serving.errors import PackageError, shortened
from nemotron_serving.package import Package, check_engine_version

_log = logging.getLogger(__name__)

_FAILED = "The engine failed; the server's log says why."
_REFUSED = "The engine refused the request; the server's log says why."
_TOO_LONG = "its grammar was not prepared within {} s; ask for less at once: fewer alternatives, shorter counts"
_KV_BLOCK_TOKENS = 32  # block size of the CPU plugin's paged attention
_MAX_BATCHED_TOKENS = 512  # a long prompt is processed in parts of this size, between the steps of others
_QUIET_S = 0.5  # a long prompt, or a grammar that is compiled, gives nothing for many steps
_GRAMMAR_BYTES_A_STEP = 32 * 1024  # a step reads the texts of those that begin in it, at 1.5 ms a KiB
_WATCHED_PAUSE_S = 0.002  # ends with the first order; a step takes 10 ms and more
_DEFAULT_KV_CACHE_SHARE = 0.25  # of the memory that is free at start
_DEFAULT_KV_CACHE_MAX_GIB = 4
_REASONS: dict[Any, EngineFinish] = {
    py_openvino_genai.GenerationFinishReason.STOP: "stop",
    py_openvino_genai.GenerationFinishReason.LENGTH: "length",
}


def main() -> None:
    """Serve the socket whose number is the only argument."""
    connection = Connection(int(sys.argv[1]))
    try:
        start = msgspec.msgpack.decode(connection.recv_bytes(), type=Start)
        try:
            package = Package.load(Path(start.package))
            kv_cache_gib = start.kv_cache_gib or _default_kv_cache_gib()
            pipeline = open_pipeline(package, kv_cache_gib, start.threads)
            kv_cache_tokens, step_s = _warm_up(pipeline, package, kv_cache_gib)
        except PackageError as error:
            connection.send_bytes(msgspec.msgpack.encode(Refused(str(error))))
            return
        grammars = Grammars(TokenizerCompiler(pipeline, package.engine_path))
        connection.send_bytes(msgspec.msgpack.encode(Ready(kv_cache_tokens, _MAX_BATCHED_TOKENS, step_s)))
        share_the_interpreter()
        Loop(pipeline, connection, grammars).run()
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return


def open_pipeline(package: Package, kv_cache_gib: int, threads: int | None) -> Any:
    """The `openvino_genai.ContinuousBatchingPipeline` of a package.

    Raises:
        PackageError: files of another OpenVINO release, or files that OpenVINO cannot load.
    """
    check_engine_version(package.manifest.engine, openvino_genai.get_version())
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = kv_cache_gib
    scheduler.max_num_seqs = package.serving.limits.max_batch_size
    scheduler.max_num_batched_tokens = _MAX_BATCHED_TOKENS
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **isa_properties()}
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    try:
        return openvino_genai.ContinuousBatchingPipeline(str(package.engine_path), scheduler, "CPU", properties)
    except RuntimeError as error:
        raise PackageError(f"OpenVINO cannot load {package.engine_path}: {error}") from error


def add_request(pipeline: Any, request: EngineRequest) -> Any:
    """Add a request to a pipeline; dropping the handle that is returned cancels it."""
    ids = openvino.Tensor(np.array([request.prompt_ids], dtype=np.int64))
    return pipeline.add_request(request.request_id, ids, _generation_config(request))


@dataclass
class _Running:
    """A request in the pipeline. While `prefilled` is short of the prompt, the handle is that of a part of it."""

    request: EngineRequest
    handle: Any = None
    prefilled: int = 0
    emitted: int = 0
    form: Form | None = field(init=False)
    waits_since: float = 0.0

    def __post_init__(self) -> None:
        self.form = form_of(self.request)

    def next_part(self) -> EngineRequest:
        """What to add to the pipeline next.

        OpenVINO processes prompts in the order they came, so a long one would hold up all that come after it for as
        long as its prefill takes. In parts of one step each, whose tokens stay in the prefix cache, others get their
        turn between two of them.
        """
        prompt_ids = self.request.prompt_ids
        self.prefilled += _MAX_BATCHED_TOKENS
        if self.prefilled >= len(prompt_ids):
            self.prefilled = len(prompt_ids)
            return self.request
        part = prompt_ids[: self.prefilled]
        return EngineRequest(self.request.request_id, part, 1, Sampling(), self.request.stop_token_ids)

    @property
    def watched(self) -> bool:
        """Whether the caller may abort the request after any token now."""
        first, last = self.request.watched or (0, -1)
        return first <= self.emitted <= last

    @property
    def prefilling(self) -> bool:
        """Whether the handle is that of a part of the prompt, whose output is nobody's."""
        return self.prefilled < len(self.request.prompt_ids)

    @property
    def looks_for_grammar(self) -> bool:
        """Whether the pipeline has yet to find the grammar, which it does in the step that gives the first token."""
        return self.form is not None and not self.prefilling and not self.emitted


class Loop:
    """Takes orders between two steps, and hands out what a step gave."""

    def __init__(
        self, pipeline: Any, connection: Connection, grammars: Grammars, *, longest_compile_s: float = 60
    ) -> None:
        self._pipeline = pipeline
        self._connection = connection
        self._grammars = grammars
        self._longest_compile_s = longest_compile_s
        self._running: dict[int, _Running] = {}
        self._waiting: dict[int, _Running] = {}  # for their grammars; the pipeline does not know them
        self._deltas: list[tuple[int, Delta]] = []
        self._cancelled = False  # a cancelled request keeps its KV cache until the next step
        self._told = time.monotonic()

    def run(self) -> None:
        """Work until the pipeline has failed.

        Raises:
            EOFError: the other end has closed the connection.
        """
        alive = True
        while alive:
            self._take_orders()
            self._begin_waiting()
            if self._running or self._cancelled:
                alive = self._step()
            quiet = time.monotonic() - self._told >= _QUIET_S
            if self._deltas or (quiet and (self._running or self._waiting)):
                self._hand_out()

    def _take_orders(self) -> None:
        patience = self._patience()
        while self._has_order(patience):
            patience = 0
            order = msgspec.msgpack.decode(self._connection.recv_bytes(), type=ORDERS)
            if isinstance(order, Submit):
                self._add(_Running(order.request))
            elif running := self._running.pop(order.request_id, None):
                running.handle.cancel()
                self._cancelled = True
                self._forget_grammar(running)
                if running.watched:  # its successor is on its way
                    self._connection.poll(_WATCHED_PAUSE_S)
            elif running := self._waiting.pop(order.request_id, None):
                self._forget_grammar(running)

    def _patience(self) -> float | None:
        """How long to wait for something to do; None is for ever."""
        if self._running or self._cancelled or self._deltas:
            return 0
        return _QUIET_S if self._waiting else None

    def _has_order(self, patience: float | None) -> bool:
        """Whether there is an order, now or soon. A grammar that is done ends the wait too."""
        came = wait([self._connection, self._grammars.news], patience)
        if self._grammars.news in came:
            self._grammars.take_news()
        return self._connection in came

    def _begin_waiting(self) -> None:
        """Add the requests whose grammars are done, in the order they came."""
        self._grammars.go_on(in_use=any(running.looks_for_grammar for running in self._running.values()))
        room = _GRAMMAR_BYTES_A_STEP
        for request_id, running in list(self._waiting.items()):
            assert running.form is not None  # noqa: S101 - only those wait
            try:
                ready = room > 0 and self._grammars.ready(running.form)
            except GrammarError:
                self._refuse(running, Delta([], error=_REFUSED))
                continue
            if ready:
                room -= len(running.form.text)
                del self._waiting[request_id]
                self._hand_over(running, running.request)
            elif time.monotonic() - running.waits_since > self._longest_compile_s:
                reason = _TOO_LONG.format(self._longest_compile_s)
                self._refuse(running, Delta([], error=reason, refused=True))

    def _refuse(self, running: _Running, delta: Delta) -> None:
        del self._waiting[running.request.request_id]
        self._deltas.append((running.request.request_id, delta))
        self._forget_grammar(running)

    def _forget_grammar(self, running: _Running) -> None:
        """Do not compile it for a request that has left, unless another one needs it."""
        others = (*self._waiting.values(), *self._running.values())
        if running.form is not None and all(other.form != running.form for other in others):
            self._grammars.forget(running.form)

    def _add(self, running: _Running) -> None:
        """Add the next part of a request, or let it wait for its grammar, which the last part needs."""
        request = running.next_part()
        if running.form is None:
            self._hand_over(running, request)
        elif running.prefilling:
            with contextlib.suppress(GrammarError):  # is told when the last part comes
                self._grammars.ready(running.form)
            self._hand_over(running, request)
        else:
            self._running.pop(request.request_id, None)
            running.waits_since = time.monotonic()
            self._waiting[request.request_id] = running

    def _hand_over(self, running: _Running, request: EngineRequest) -> None:
        self._running[request.request_id] = running
        try:
            running.handle = add_request(self._pipeline, request)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            del self._running[request.request_id]
            _log.error("request refused: %s", shortened(str(error)))
            self._deltas.append((request.request_id, Delta([], error=_REFUSED)))

    def _step(self) -> bool:
        """Run one step; False if the pipeline has failed, which it does not survive."""
        self._cancelled = False
        try:
            self._pipeline.step()
        except RuntimeError:
            _log.exception("the pipeline failed")
            self._deltas += [(number, Delta([], error=_FAILED)) for number in (*self._running, *self._waiting)]
            return False
        for running in list(self._running.values()):
            self._read(running)
        return True

    def _read(self, running: _Running) -> None:
        if running.prefilling:
            if running.handle.get_status() != py_openvino_genai.GenerationStatus.RUNNING:
                self._add(running)
            return
        token_ids: list[int] = []
        logprobs: list[float] = []
        reason: EngineFinish | None = None
        if running.handle.can_read():
            for output in running.handle.read().values():
                token_ids += output.generated_ids
                logprobs += output.generated_log_probs
                reason = _REASONS.get(output.finish_reason)
        error = None
        if running.handle.get_status() == py_openvino_genai.GenerationStatus.IGNORED:
            error = "The KV cache has no room for this request. Serve with a larger --kv-cache-gib."
        if token_ids and token_ids[-1] in running.request.stop_token_ids:
            token_ids.pop()
        if reason or error:
            del self._running[running.request.request_id]
        running.emitted += len(token_ids)
        if token_ids or reason or error:
            wanted = running.request.sampling.logprobs is not None
            # The stop token that was taken off has one as well.
            values = logprobs[: len(token_ids)] if wanted else []
            pairs = tuple(TokenLogprob(max(LOWEST_LOGPROB, value)) for value in values)
            self._deltas.append((running.request.request_id, Delta(token_ids, reason, error, pairs)))

    def _hand_out(self) -> None:
        metrics = self._pipeline.get_metrics()
        result = StepResult(self._deltas, metrics.scheduled_requests, metrics.cache_usage / 100)
        self._connection.send_bytes(msgspec.msgpack.encode(result))
        self._deltas = []
        self._told = time.monotonic()
        if any(running.watched for running in self._running.values()):
            self._connection.poll(_WATCHED_PAUSE_S)


def _warm_up(pipeline: Any, package: Package, kv_cache_gib: int) -> tuple[int, float]:
    """Run one block of tokens, which compiles the kernels, and see what share of the KV cache it took.

    Returns:
        Tokens that the KV cache holds, and seconds that a full step may take: the same block again, whose time is that
        of reading the weights at least, times the blocks of a step.

    Raises:
        PackageError: it cannot hold one sequence of the package's max_seq_len.
    """
    stop_token_ids = package.serving.stop_token_ids
    prompt_ids = [stop_token_ids[0]] * (_KV_BLOCK_TOKENS - 1)
    began = 0.0
    for _ in range(2):
        began = time.monotonic()
        handle = add_request(pipeline, EngineRequest(0, prompt_ids, 1, Sampling(), frozenset(stop_token_ids)))
        while pipeline.has_non_finished_requests():
            pipeline.step()
        handle.read()
    step_s = (time.monotonic() - began) * _MAX_BATCHED_TOKENS / _KV_BLOCK_TOKENS
    kv_cache_tokens = int(_KV_BLOCK_TOKENS * 100 / pipeline.get_metrics().max_cache_usage)
    max_seq_len = package.serving.limits.max_seq_len
    if kv_cache_tokens < max_seq_len:
        raise PackageError(
            f"A KV cache of {kv_cache_gib} GiB holds {kv_cache_tokens} tokens, the package promises {max_seq_len} "
            "a request. Give it more with --kv-cache-gib, or lower limits.max_seq_len."
        )
    return kv_cache_tokens, step_s


def _generation_config(request: EngineRequest) -> Any:
    sampling = request.sampling
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.max_tokens
    config.min_new_tokens = min(sampling.min_tokens, request.max_tokens)
    config.stop_token_ids = set(request.stop_token_ids)
    config.eos_token_id = min(request.stop_token_ids)
    config.repetition_penalty = sampling.repetition_penalty
    config.presence_penalty = sampling.presence_penalty
    config.frequency_penalty = sampling.frequency_penalty
    config.do_sample = not sampling.greedy
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        if sampling.top_k:
            config.top_k = sampling.top_k
        # Left alone, OpenVINO starts every request from the same seed.
        config.rng_seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
    config.logprobs = 0 if sampling.logprobs is None else 1
    form = form_of(request)
    if form is not None:
        config.structured_output_config = output_config(form)
    return config


def _default_kv_cache_gib() -> int:
    free_gib = available_memory() / 2**30
    return max(1, min(int(free_gib * _DEFAULT_KV_CACHE_SHARE), _DEFAULT_KV_CACHE_MAX_GIB))


if __name__ == "__main__":
    main()
