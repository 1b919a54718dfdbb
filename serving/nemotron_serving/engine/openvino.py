"""OpenVINO GenAI's continuous batching on a CPU: paged KV cache, prefix cache, in-flight batching.

One thread owns the pipeline: it adds and cancels requests between two steps, then hands out what the step gave.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
import openvino_genai
import psutil
from openvino_genai import py_openvino_genai

from nemotron_serving.engine.base import (
    Delta,
    EngineFinish,
    EngineLimits,
    EngineRequest,
    EngineStats,
    OnDelta,
    Sampling,
)
from nemotron_serving.errors import EngineError, PackageError
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package, check_engine_version

_KV_BLOCK_TOKENS = 32  # block size of the CPU plugin's paged attention
_MAX_BATCHED_TOKENS = 512  # a long prompt is processed in parts of this size, between the steps of others
_DEFAULT_KV_CACHE_SHARE = 0.25  # of the memory that is free at start
_DEFAULT_KV_CACHE_MAX_GIB = 4
_IDLE_WAIT_S = 0.5
_REASONS: dict[Any, EngineFinish] = {
    py_openvino_genai.GenerationFinishReason.STOP: "stop",
    py_openvino_genai.GenerationFinishReason.LENGTH: "length",
}


@dataclass
class _Running:
    request: EngineRequest
    handle: Any  # dropping it cancels the request
    on_delta: OnDelta


class OpenVINOEngine:
    """The `openvino` engine."""

    def __init__(self, package: Package, options: HostOptions) -> None:
        """Load the model and run it once.

        Raises:
            PackageError: files of another OpenVINO release, files it cannot load, or a KV cache that cannot hold
                one sequence of the package's max_seq_len.
        """
        check_engine_version(package.manifest.engine, openvino_genai.get_version())
        limits = package.serving.limits
        kv_cache_gib = options.kv_cache_gib or _default_kv_cache_gib()
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = kv_cache_gib
        scheduler.max_num_seqs = limits.max_batch_size
        scheduler.max_num_batched_tokens = _MAX_BATCHED_TOKENS
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = True
        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if options.engine_threads:
            properties["INFERENCE_NUM_THREADS"] = options.engine_threads
        try:
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(
                str(package.engine_path), scheduler, "CPU", properties
            )
        except RuntimeError as error:
            raise PackageError(f"OpenVINO cannot load {package.engine_path}: {error}") from error
        self._running: dict[int, _Running] = {}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = False
        kv_cache_tokens = self._warm_up(package.serving.stop_token_ids)
        if kv_cache_tokens < limits.max_seq_len:
            raise PackageError(
                f"A KV cache of {kv_cache_gib} GiB holds {kv_cache_tokens} tokens, the package promises "
                f"{limits.max_seq_len} a request. Give it more with --kv-cache-gib, or lower limits.max_seq_len."
            )
        self.limits = EngineLimits(limits.max_batch_size, limits.max_seq_len, kv_cache_tokens)
        self._thread = threading.Thread(target=self._run, name="nemotron-openvino", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        """See `Engine.submit`."""
        if self._closed:
            raise EngineError("The engine was closed.")
        self._inbox.put(lambda: self._add(request, on_delta))

    def abort(self, request_id: int) -> None:
        """See `Engine.abort`."""
        self._inbox.put(lambda: self._cancel(request_id))

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        metrics = self._pipeline.get_metrics()
        scheduled = min(metrics.scheduled_requests, len(self._running))
        return EngineStats(scheduled, len(self._running) - scheduled, metrics.cache_usage / 100)

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True
        self._inbox.put(self._running.clear)
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._take_orders()
            if not self._running:
                continue
            try:
                self._pipeline.step()
            except RuntimeError as error:
                self._fail_all(f"The engine failed: {error}")
                continue
            for running in list(self._running.values()):
                self._report(running)

    def _take_orders(self) -> None:
        try:
            # With nothing to do, sleep until there is.
            self._inbox.get(block=not self._running, timeout=_IDLE_WAIT_S)()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _add(self, request: EngineRequest, on_delta: OnDelta) -> None:
        try:
            handle = self._pipeline.add_request(
                request.request_id,
                openvino.Tensor(np.array([request.prompt_ids], dtype=np.int64)),
                _generation_config(request),
            )
        except RuntimeError as error:
            on_delta(Delta([], error=f"The engine refused the request: {error}"))
            return
        self._running[request.request_id] = _Running(request, handle, on_delta)

    def _cancel(self, request_id: int) -> None:
        running = self._running.pop(request_id, None)
        if running is not None:
            running.handle.cancel()

    def _report(self, running: _Running) -> None:
        token_ids: list[int] = []
        reason = None
        if running.handle.can_read():
            for output in running.handle.read().values():
                token_ids += output.generated_ids
                reason = _REASONS.get(output.finish_reason)
        error = None
        if running.handle.get_status() == py_openvino_genai.GenerationStatus.IGNORED:
            error = "The KV cache has no room for this request. Serve with a larger --kv-cache-gib."
        if token_ids and token_ids[-1] in running.request.stop_token_ids:
            token_ids.pop()
        if reason or error:
            del self._running[running.request.request_id]
        if token_ids or reason or error:
            running.on_delta(Delta(token_ids, reason, error))

    def _fail_all(self, error: str) -> None:
        failed = list(self._running.values())
        self._running.clear()
        for running in failed:
            running.on_delta(Delta([], error=error))

    def _warm_up(self, stop_token_ids: tuple[int, ...]) -> int:
        """Run one block through the model, which compiles its kernels, and see what share of the cache it takes."""
        request = EngineRequest(
            0, [stop_token_ids[0]] * (_KV_BLOCK_TOKENS - 1), 1, Sampling(), frozenset(stop_token_ids)
        )
        handle = self._pipeline.add_request(
            0, openvino.Tensor(np.array([request.prompt_ids], dtype=np.int64)), _generation_config(request)
        )
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        del handle
        share = self._pipeline.get_metrics().max_cache_usage / 100
        return int(_KV_BLOCK_TOKENS / share) if share else 0


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
    return config


def _default_kv_cache_gib() -> int:
    free_gib = psutil.virtual_memory().available / 2**30
    return max(1, min(int(free_gib * _DEFAULT_KV_CACHE_SHARE), _DEFAULT_KV_CACHE_MAX_GIB))
