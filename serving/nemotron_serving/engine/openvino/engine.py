"""The `openvino` engine: OpenVINO GenAI's continuous batching on a CPU, in a worker process, and what the two say.

What goes over their socket is MessagePack, a frame each: `Start` to the worker and `Ready` or `Refused` back; then
`Submit` and `Abort` to it, and a `StepResult` back after every step that gave something.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from nemotron_serving.engine.base import Delta, EngineLimits, EngineRequest, EngineStats, OnDelta
from nemotron_serving.errors import EngineError, PackageError
from nemotron_serving.features import FEATURES, Feature
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package

_log = logging.getLogger(__name__)

_EXIT_S = 10
_VOCABULARY = "openvino_tokenizer.xml"  # grammars are matched against the texts of its tokens
_DIED = "The engine's process ended unexpectedly."


class Start(msgspec.Struct, frozen=True):
    """The first frame, to the worker.

    Attributes:
        package: Directory of the package.
        kv_cache_gib: Size of the KV cache; None takes `default_kv_cache_gib`.
        threads: Threads of a step; None takes `default_threads`.
    """

    package: str
    kv_cache_gib: int | None
    threads: int | None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has loaded the model. Its figures are those of `EngineLimits`."""

    kv_cache_tokens: int
    max_num_tokens: int
    step_s: float


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot serve the package, for this reason, and ends."""

    reason: str


class Submit(msgspec.Struct, frozen=True, tag=True):
    """To the worker: generate this."""

    request: EngineRequest


class Abort(msgspec.Struct, frozen=True, tag=True):
    """To the worker: stop this request."""

    request_id: int


class StepResult(msgspec.Struct, frozen=True):
    """What a step gave. Without deltas it says that the worker lives, see `EngineStats.steps`.

    Attributes:
        deltas: News of requests, with their ids.
        scheduled: Requests in the batch.
        kv_cache_used: Share of the KV cache in use, 0 to 1.
    """

    deltas: list[tuple[int, Delta]]
    scheduled: int
    kv_cache_used: float


ORDERS = Submit | Abort
ANSWERS = Ready | Refused


class OpenVINOEngine:
    """Hands requests to the worker and its deltas to their callbacks."""

    def __init__(self, package: Package, options: HostOptions) -> None:
        """Start the worker and wait until it has loaded the model and run it once.

        Raises:
            PackageError: files of another OpenVINO release, files it cannot load, or a KV cache that cannot hold
                one sequence of the package's max_seq_len.
        """
        self._callbacks: dict[int, OnDelta] = {}
        self._lock = threading.Lock()  # guards the callbacks, and that an abort is queued after its submit
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closed = False
        self._scheduled, self._kv_cache_used, self._steps = 0, 0.0, 0
        self._worker, self._connection = _start_worker()
        try:
            start = Start(str(package.path), options.kv_cache_gib, options.engine_threads)
            self._connection.send_bytes(msgspec.msgpack.encode(start))
            answer = msgspec.msgpack.decode(self._connection.recv_bytes(), type=ANSWERS)
        except (EOFError, ConnectionError):
            self._worker.wait()
            raise PackageError(f"{_DIED} It could not load {package.engine_path}; its log says why.") from None
        if isinstance(answer, Refused):
            self._worker.wait()
            raise PackageError(answer.reason)
        limits = package.serving.limits
        self.limits = EngineLimits(
            limits.max_batch_size,
            limits.max_seq_len,
            answer.kv_cache_tokens,
            answer.max_num_tokens,
            answer.step_s,
            on_cpu=True,
        )
        self.features = _features(package)
        # Writing may block for as long as the worker takes; no caller of submit or abort waits for it.
        self._threads = [
            threading.Thread(target=self._read, name="nemotron-openvino", daemon=True),
            threading.Thread(target=self._write, name="nemotron-openvino-orders", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        """See `Engine.submit`."""
        with self._lock:
            if self._closed:
                raise EngineError("The engine was closed, or its process has ended.")
            order = msgspec.msgpack.encode(Submit(request))
            self._callbacks[request.request_id] = on_delta
            self._orders.put(order)

    def abort(self, request_id: int) -> None:
        """See `Engine.abort`."""
        with self._lock:
            if self._callbacks.pop(request_id, None) is not None:
                self._orders.put(msgspec.msgpack.encode(Abort(request_id)))

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        submitted = len(self._callbacks)
        running = min(self._scheduled, submitted)
        # Without requests there are no steps to tell; what the prefix cache keeps then is free to be overwritten.
        used = self._kv_cache_used if submitted else 0.0
        return EngineStats(running, submitted - running, used, self._steps)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            self._closed = True
            self._callbacks.clear()
        self._worker.terminate()
        try:
            self._worker.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        self._orders.put(None)
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _write(self) -> None:
        # After the worker's end the reader has failed every request; what is still queued has nobody to wait for it.
        with contextlib.suppress(OSError):
            while (order := self._orders.get()) is not None:
                self._connection.send_bytes(order)

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._hand_out(msgspec.msgpack.decode(self._connection.recv_bytes(), type=StepResult))
        self._fail()

    def _hand_out(self, result: StepResult) -> None:
        self._scheduled, self._kv_cache_used = result.scheduled, result.kv_cache_used
        self._steps += 1
        for request_id, delta in result.deltas:
            with self._lock:
                last = delta.finish_reason is not None or delta.error is not None
                on_delta = self._callbacks.pop(request_id, None) if last else self._callbacks.get(request_id)
            if on_delta is not None:
                on_delta(delta)

    def _fail(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, {}
            unexpected, self._closed = not self._closed, True
        if unexpected:
            _log.error(_DIED)
        for on_delta in callbacks.values():
            on_delta(Delta([], error=_DIED))


def _features(package: Package) -> frozenset[Feature]:
    features = frozenset(feature for feature, support in FEATURES.items() if support.openvino)
    has_vocabulary = (package.engine_path / _VOCABULARY).is_file()
    return features if has_vocabulary else features - {"guided_decoding", "bad_words"}  # which are grammars


def _start_worker() -> tuple[subprocess.Popen[Any], Connection]:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "nemotron_serving.engine.openvino.worker", str(theirs.fileno())]
        worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    return worker, Connection(ours.detach())
