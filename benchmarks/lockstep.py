"""An engine in lockstep, behind the real generating model: each response that is sent carries one token of one stream.

No other engine does that at full speed: tokens that come while responses are being sent share the next one. This one
gives each stream a token, and the next when all of that was sent. It has no thread and computes nothing, so what a
response costs is what the stack costs.

Triton's process imports this module; `lockstep_repository` writes the model that does so.
"""

from __future__ import annotations

import importlib
import importlib.util
import queue
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from nemotron_serving.clock import Clock
from nemotron_serving.engine import Delta, EngineLimits, EngineRequest, EngineStats, OnDelta
from nemotron_serving.features import Feature
from nemotron_serving.host import HostOptions
from nemotron_serving.launcher.triton_files import default_repository
from nemotron_serving.package import Package

_ROOT = Path(__file__).resolve().parents[1]
_MODEL = Path("tensorrt_llm", "1", "model.py")
_LETTERS = range(97, 123)  # tokens of a simulated package, which are bytes


def lockstep_repository(path: Path) -> Path:
    """Write the model repository with this engine, for `nemotron-serve --model-repository`."""
    shutil.copytree(default_repository(), path, ignore=shutil.ignore_patterns("__pycache__"))
    lines = ("import sys", f"sys.path.insert(0, {str(_ROOT)!r})", "from benchmarks.lockstep import model_class")
    (path / _MODEL).write_text("\n".join((*lines, "TritonPythonModel = model_class()")) + "\n")
    return path


class LockstepEngine:
    """The `Engine` whose steps are the pump's: one when the pump has nothing else to do."""

    features: ClassVar[frozenset[Feature]] = frozenset()

    def __init__(self, package: Package, _options: HostOptions) -> None:
        """See `open_engine`."""
        limits = package.serving.limits
        self.limits = EngineLimits(limits.max_batch_size, limits.max_seq_len, limits.max_seq_len)
        self._running: dict[int, tuple[EngineRequest, OnDelta, int]] = {}
        self._steps = 0
        self._sent = False  # since the last step

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        """See `Engine.submit`."""
        self._running[request.request_id] = request, on_delta, 0
        self._sent = True

    def abort(self, request_id: int) -> None:
        """See `Engine.abort`."""
        self._running.pop(request_id, None)

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        return EngineStats(len(self._running), 0, 0.0, self._steps)

    def close(self) -> None:
        """See `Engine.close`."""
        self._running.clear()

    def sent(self) -> None:
        """Something was sent: a session that has to be read first takes no more, and gets no more."""
        self._sent = True

    def step(self) -> None:
        """Give each stream its next token."""
        if not self._sent:
            return
        self._sent = False
        self._steps += 1
        for request_id, (request, on_delta, tokens) in list(self._running.items()):
            last = tokens + 1 == request.max_tokens
            if last:
                del self._running[request_id]
            else:
                self._running[request_id] = request, on_delta, tokens + 1
            on_delta(Delta([_LETTERS[tokens % len(_LETTERS)]], "length" if last else None))


def model_class() -> type:
    """The generating model's class, with this engine."""
    spec = importlib.util.spec_from_file_location("generating_model", default_repository() / _MODEL)
    assert spec is not None and spec.loader is not None
    model: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    engines: list[LockstepEngine] = []

    def open_engine(package: Package, options: HostOptions) -> LockstepEngine:
        engines.append(LockstepEngine(package, options))
        return engines[0]

    class Events(queue.SimpleQueue[Any]):
        def get(self, *args: Any, **more: Any) -> Any:
            if self.empty():
                engines[0].step()
            return super().get(*args, **more)

    class SteppingClock(Clock):
        def queue(self) -> queue.SimpleQueue[Any]:
            return Events()

    def tell(sink: Any) -> None:
        send = sink.send

        def telling(self: Any, what: Any) -> None:
            send(self, what)
            engines[0].sent()

        sink.send = telling

    service: Callable[..., Any] = model.GenerationService
    model.open_engine = open_engine
    model.GenerationService = lambda *args, **more: service(*args, **more, clock=SteppingClock())
    generate = importlib.import_module("nemotron_serving.stages.generate")
    tell(generate.ResponseSink)
    tell(generate.SubscriptionSink)
    made: type = model.TritonPythonModel
    return made
