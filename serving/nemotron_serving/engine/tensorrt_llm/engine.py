"""The `tensorrt_llm` engine: TensorRT-LLM's Python LLM API, for an engine directory or a Hugging Face checkpoint.

All that touches the LLM's requests (submit, iterate, abort) happens in one event loop on one thread, as the API needs
it. The LLM itself is constructed and shut down outside of the loop, and one further thread reads its statistics.

How a dead engine is noticed: the LLM says that it has shut down, by itself or asked after a request raised; several
requests in a row raise; its statistics cannot be read several times in a row; or nothing came from it for a while, not
even the answer to a one-token request. Then every request fails, later ones are refused with EngineError, and what is
left of the LLM is shut down. With that its worker processes end, which the launcher sees; it starts the server again.
So does it when a worker process dies by itself. What one request raises while the LLM lives, such as a response that it
cannot read, fails that request alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from nemotron_serving.engine.base import Delta, EngineLimits, EngineRequest, EngineStats, OnDelta, Sampling
from nemotron_serving.engine.tensorrt_llm.files import EngineFiles, read_engine_files
from nemotron_serving.engine.tensorrt_llm.library import (
    TensorRTLLMOptions,
    features,
    load_library,
    open_llm,
    sampling_params,
)
from nemotron_serving.engine.tensorrt_llm.results import Run, kv_cache_tokens, kv_cache_used, scheduled
from nemotron_serving.errors import EngineError, PackageError
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package, SamplingDefaults

_log = logging.getLogger(__name__)

_STATS_TIMEOUT_S = 0.2  # of one call, which waits for news
_FIRST_STATS_TIMEOUT_S = 2.0
_STATS_FAULTS = 3  # in a row are no accident
_REQUEST_FAULTS = 5  # likewise, of requests without a response in between
_SHUTDOWN_S = 30.0
_PROBE_ID = 0  # GenerationService counts from 1


@dataclass(frozen=True)
class Patience:
    """How long the engine waits for the LLM, in seconds.

    Attributes:
        stats_pause_s: Between two readings of its statistics.
        watch_s: Between two looks at how long it has been silent.
        probe_after_s: Silence after which it is asked for one token.
        probe_limit_s: Further silence after which it counts as dead.
        drain_s: At the end, for letting go of the requests that it works on.
    """

    stats_pause_s: float = 0.05
    watch_s: float = 1.0
    probe_after_s: float = 10.0
    probe_limit_s: float = 60.0
    drain_s: float = 5.0


class TensorRTLLMEngine:
    """Hands requests to an LLM in its event loop, and what comes back to their callbacks."""

    def __init__(self, package: Package, host: HostOptions, patience: Patience = Patience()) -> None:
        """Load the LLM and let it generate one token.

        Raises:
            PackageError: TensorRT-LLM is missing or another release; files that it cannot load or that hold less than
                the package promises; a default or an option that it cannot honour.
        """
        self._patience = patience
        self._options = TensorRTLLMOptions.from_environment()
        if host.engine_threads is not None:
            raise PackageError("--engine-threads was given: it is for engines that run on a CPU. Leave it out.")
        files = read_engine_files(package)
        self._library = load_library(package.manifest.engine, files)
        self.features = features(self._library, files.flow)
        if "penalties" not in self.features:
            _refuse_penalties(package.serving.sampling_on, package.serving.sampling_off)
        self._vocab_size = files.vocab_size
        self._counts_cached = files.flow == "pytorch"
        self._stop_order = package.serving.stop_token_ids
        self._runs: dict[int, Run] = {}  # that somebody waits for
        self._held: set[Run] = set()  # that the LLM works on; abandoned ones stay until it lets go of them
        self._tasks: dict[Run, asyncio.Task[None]] = {}
        self._lock = threading.Lock()  # guards the runs, and that orders reach the loop before its end
        self._closed = False
        self._failure: str | None = None
        self._gauge: dict[str, Any] = {}
        self._steps = 0
        self._request_faults = 0  # in a row
        self._last_sign = time.monotonic()
        self._ending = threading.Event()
        self._watch: concurrent.futures.Future[None] | None = None
        self._llm: Any = open_llm(self._library, package, files, host, self._options)
        self._shutdown = threading.Thread(target=self._shut_down, name="nemotron-tensorrt-llm-shutdown", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nemotron-tensorrt-llm", daemon=True)
        self._poller = threading.Thread(target=self._poll, name="nemotron-tensorrt-llm-stats", daemon=True)
        self.limits = self._begin(files, package.serving.limits.max_seq_len)

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        """See `Engine.submit`."""
        run = Run(request, on_delta, self._counts_cached)
        with self._lock:
            if self._failure is not None:
                raise EngineError(self._failure)
            if self._closed:
                raise EngineError("The engine was closed.")
            self._runs[request.request_id] = run
            self._loop.call_soon_threadsafe(self._start, run)

    def abort(self, request_id: int) -> None:
        """See `Engine.abort`. The LLM lets go of the request a little later; with abort switched off, at its end."""
        with self._lock:
            run = self._runs.pop(request_id, None)
            if run is not None:
                run.on_delta = None
                self._loop.call_soon_threadsafe(self._abort, run)

    def stats(self) -> EngineStats:
        """See `Engine.stats`. Abandoned requests count for as long as the LLM works on them."""
        held = list(self._held)
        # The gauge is a moment old: not below what has begun, not above what is there.
        running = max(sum(run.started for run in held), min(scheduled(self._gauge), len(held)))
        return EngineStats(running, len(held) - running, kv_cache_used(self._gauge) if held else 0.0, self._steps)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._forget_all()
        self._ending.set()
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        if self._poller.ident is not None:
            self._poller.join(_SHUTDOWN_S)
        if self._failure is None:
            self._shutdown.start()
        self._shutdown.join(_SHUTDOWN_S)
        if self._shutdown.is_alive():
            _log.error("TensorRT-LLM did not shut down within %d s; its processes end with this one.", _SHUTDOWN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._llm = None
        gc.collect()

    # In the loop's thread.

    def _start(self, run: Run) -> None:
        if run.on_delta is None:  # abandoned before its turn came
            return
        try:
            run.result = self._llm.generate_async(
                inputs=run.request.prompt_ids,
                sampling_params=sampling_params(self._library, run.request, self._stop_order, self._vocab_size),
                streaming=True,
            )
        except (self._library.request_error, ValueError, TypeError, AssertionError, IndexError) as error:
            self._give(run, Delta([], error=f"TensorRT-LLM refused the request: {error}"))
        except Exception as error:
            self._fail(run, f"TensorRT-LLM takes no requests any more: {error}")
        else:
            if run.request.request_id != _PROBE_ID:
                self._held.add(run)
            self._tasks[run] = self._loop.create_task(self._follow(run))

    async def _follow(self, run: Run) -> None:
        try:
            async for output in run.result:
                self._last_sign = time.monotonic()
                self._steps += 1
                self._request_faults = 0
                self._read(run, output)
        except self._library.request_error as error:
            self._give(run, Delta([], error=f"TensorRT-LLM could not finish the request: {error}"))
        except Exception as error:
            # Iterating again would wait for ever: in this request, or in every one if the LLM has shut itself down.
            self._fail(run, f"TensorRT-LLM failed: {error}")
        finally:
            self._held.discard(run)
            self._tasks.pop(run, None)

    def _read(self, run: Run, output: Any) -> None:
        if run.on_delta is None:
            return
        try:
            delta = run.read(output)
        except Exception:  # the other requests have no part in it
            _log.exception("engine request %d", run.request.request_id)
            delta = Delta([], error="TensorRT-LLM's response could not be read, see the server's log.")
        if delta is None:
            return
        self._give(run, delta)
        if run.on_delta is None:
            self._abort(run)

    def _give(self, run: Run, delta: Delta) -> None:
        on_delta = run.on_delta
        if on_delta is None:
            return
        if delta.finish_reason is not None or delta.error is not None:
            with self._lock:
                if self._runs.get(run.request.request_id) is run:
                    del self._runs[run.request.request_id]
            run.on_delta = None
        on_delta(delta)

    def _abort(self, run: Run) -> None:
        if self._options.abort and run.result is not None and not run.result.finished:
            try:
                run.result.abort()
            except Exception as error:  # the executor behind it is gone, which is noticed elsewhere
                _log.warning("TensorRT-LLM did not take an abort: %s", error)

    def _fail(self, run: Run, reason: str) -> None:
        """End one request for what it raised, or all if the LLM is dead."""
        self._request_faults += 1
        if self._request_faults >= _REQUEST_FAULTS or not self._is_healthy():
            self._die(reason)
            return
        _log.exception("engine request %d, fault %d in a row", run.request.request_id, self._request_faults)
        self._give(run, Delta([], error=reason))
        self._abort(run)

    def _is_healthy(self) -> bool:
        try:
            return bool(self._llm._check_health())
        except Exception:  # what is behind it is gone
            return False

    def _die(self, reason: str) -> None:
        with self._lock:
            if self._failure is not None or self._closed:
                return
            self._failure = reason
            runs = list(self._runs.values())
        _log.error("%s", reason)
        for run in runs:
            self._give(run, Delta([], error=reason))
        for task in list(self._tasks.values()):
            if task is not asyncio.current_task():
                task.cancel()
        self._held.clear()
        self._shutdown.start()

    async def _watch_over(self) -> None:
        probe: Run | None = None
        while self._failure is None:
            await asyncio.sleep(self._patience.watch_s)
            silent_s = time.monotonic() - self._last_sign
            if silent_s < self._patience.probe_after_s:
                probe = None
            elif probe is None:
                probe = Run(_one_token(self._stop_order), lambda _: None)
                self._start(probe)
            elif silent_s > self._patience.probe_after_s + self._patience.probe_limit_s:
                self._die(f"TensorRT-LLM gave no sign of life for {silent_s:.0f} s.")

    async def _drain(self) -> None:
        """Have the LLM let go of everything, for as long as that may take, then stop waiting for it."""
        for run in list(self._tasks):
            self._abort(run)
        if tasks := list(self._tasks.values()):
            _, waiting = await asyncio.wait(tasks, timeout=self._patience.drain_s if self._options.abort else 0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()

    # In other threads.

    def _begin(self, files: EngineFiles, max_seq_len: int) -> EngineLimits:
        """Start the threads, generate one token, and see what the KV cache holds."""
        self._thread.start()
        try:
            self._warm_up()
            held = kv_cache_tokens(self._gauge, files.tokens_per_block) or files.max_seq_len
            _log.info("TensorRT-LLM %s, %s flow, KV cache of %d tokens", self._library.version, files.flow, held)
            _check_kv_cache(held, max_seq_len)
        except PackageError:
            self.close()
            raise
        self._watch = asyncio.run_coroutine_threadsafe(self._watch_over(), self._loop)
        self._poller.start()
        return EngineLimits(files.max_batch_size, files.max_seq_len, held, files.max_num_tokens)

    def _warm_up(self) -> None:
        deltas: queue.SimpleQueue[Delta] = queue.SimpleQueue()
        self.submit(_one_token(self._stop_order), deltas.put)
        delta = deltas.get()
        while delta.finish_reason is None and delta.error is None:
            delta = deltas.get()
        if delta.error is not None:
            raise PackageError(f"The engine was loaded and did not generate a token: {delta.error}")
        self._take_stats(_FIRST_STATS_TIMEOUT_S)

    def _poll(self) -> None:
        faults = 0
        while not self._ending.wait(self._patience.stats_pause_s) and self._failure is None:
            try:
                healthy = self._llm._check_health()
                self._take_stats(_STATS_TIMEOUT_S)
            except Exception as error:
                faults += 1
                if faults == _STATS_FAULTS:
                    self._report_death(f"TensorRT-LLM does not answer: {error}")
            else:
                faults = 0
                if not healthy:
                    self._report_death("TensorRT-LLM has shut itself down.")

    def _take_stats(self, timeout_s: float) -> None:
        if entries := self._llm.get_stats(timeout=timeout_s):
            self._gauge = entries[-1]
            self._steps += 1  # also those of a long prompt, which give no response

    def _report_death(self, reason: str) -> None:
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._die, reason)

    def _forget_all(self) -> None:
        for run in self._runs.values():
            run.on_delta = None
        self._runs.clear()

    def _shut_down(self) -> None:
        try:
            self._llm.shutdown()
        except Exception as error:
            _log.warning("TensorRT-LLM did not shut down in good order: %s", error)


def _one_token(stop_order: tuple[int, ...]) -> EngineRequest:
    return EngineRequest(_PROBE_ID, [stop_order[0]], 1, Sampling(), frozenset(stop_order))


def _refuse_penalties(*defaults: SamplingDefaults) -> None:
    for sampling in defaults:
        if sampling.repetition_penalty != 1:
            raise PackageError(
                f"The package's repetition_penalty is {sampling.repetition_penalty}; this TensorRT-LLM has no "
                "penalties for a checkpoint. Set it to 1 and build the package again, or serve an engine."
            )


def _check_kv_cache(held: int, max_seq_len: int) -> None:
    if held < max_seq_len:
        raise PackageError(
            f"The KV cache holds {held} tokens, the package promises {max_seq_len} a request. Give it more with "
            "--kv-cache-gib or a larger GPU, or lower limits.max_seq_len."
        )
