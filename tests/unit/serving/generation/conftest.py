"""Services on the simulated engine, in virtual time, and clients of theirs that open sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from nemotron_serving.engine import EngineLimits, EngineRequest, EngineStats, OnDelta
from nemotron_serving.engine.simulated import Script, SimulatedEngine
from nemotron_serving.errors import ServingError
from nemotron_serving.features import FEATURES, Feature
from nemotron_serving.generation.service import GenerationService
from nemotron_serving.host import RuntimeDir, StopRule
from nemotron_serving.metrics import Recorder
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.package import Limits
from tests.unit.serving.support import Collector, RecordingEngine, ids_of, make_package, settings
from tests.virtual_clock import VirtualClock

PROMPT = ids_of("Hi")
OPEN_PROMPT = ids_of("Hi<think>\n")
PROBE = "known to the launcher alone"


class Service(GenerationService):
    """A service, the engine that it runs on, and the clock that both live by: time passes while a test waits."""

    engine: RecordingEngine
    vocabulary: Vocabulary
    clock: VirtualClock

    def until(self, condition: Callable[[], object]) -> bool:
        """Whether a condition becomes true in time."""
        return self.clock.run_until(condition)

    def ask(self, client_id: str = "", prompt: list[int] | None = None, caller: str = "", **changes: Any) -> Collector:
        """Submit a request with these settings."""
        sink = Collector(self.clock)
        default = OPEN_PROMPT if changes.get("thinking") else PROMPT
        self.submit(client_id, default if prompt is None else prompt, settings(**changes), sink, caller)
        return sink

    def subscribe(self, **changes: Any) -> Subscriber:
        """Open a session, and wait for its key."""
        subscriber = Subscriber(self, **changes)
        self.open_session(subscriber)
        assert self.until(lambda: subscriber.frames)
        return subscriber

    def idle(self) -> bool:
        def nothing() -> bool:
            stats, engine = self.stats(), self.engine.stats()
            return stats.in_flight == engine.running == engine.waiting == 0

        return self.until(nothing)


class Subscriber:
    """A client that keeps all frames of its session.

    Args:
        service: Where its session is.
        acknowledges: Whether it says at once that it has read each frame.
    """

    def __init__(self, service: Service, *, acknowledges: bool = True) -> None:
        self.service = service
        self.acknowledges = acknowledges
        self.frames: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.ends = 0
        self.error: ServingError | None = None
        self.left = False
        self.lost = False

    def send(self, frame: bytes) -> None:
        if self.lost:
            raise RuntimeError("no way to the client")
        self.frames.append(msgspec.json.decode(frame))
        self.sizes.append(len(frame))
        if self.acknowledges and len(self.frames) > 1:
            self.acknowledge()

    def end(self, error: ServingError | None) -> None:
        self.ends += 1
        self.error = error

    def is_cancelled(self) -> bool:
        return self.left

    @property
    def ended(self) -> bool:
        return self.ends > 0

    @property
    def key(self) -> str:
        return str(self.frames[0]["session"])

    def ask(self, client_id: str, prompt: list[int] | None = None, caller: str = "", **changes: Any) -> None:
        """Submit a request with these settings."""
        default = OPEN_PROMPT if changes.get("thinking") else PROMPT
        asked = settings(**changes)
        self.service.submit_to_session(self.key, client_id, default if prompt is None else prompt, asked, caller)

    def stop(self, client_id: str) -> bool:
        return self.service.stop(client_id, session_key=self.key)

    def acknowledge(self) -> None:
        """Say that all frames were read."""
        self.service.acknowledge(self.key, self.frames[-1]["frame"])

    @property
    def drains(self) -> bool:
        """Whether it was told that no new request is taken soon."""
        return any("draining" in frame for frame in self.frames)

    def responses(self, client_id: str) -> list[dict[str, Any]]:
        """What came for a request so far."""
        return [one for frame in self.frames for one in frame.get("responses", []) if one["id"] == client_id]

    def text(self, client_id: str) -> str:
        return "".join(one.get("text_output", "") for one in self.responses(client_id))

    def has_ended(self, client_id: str) -> bool:
        """Whether the last response to a request came."""
        return any("finish_reason" in one or "error" in one for one in self.responses(client_id))

    def wait(self, client_id: str) -> dict[str, Any]:
        """The last response to a request."""
        assert self.service.until(lambda: self.has_ended(client_id)), self.responses(client_id)
        return self.responses(client_id)[-1]


_LIMITS = Limits(max_seq_len=4096, max_prompt_bytes=8192, max_batch_size=8, max_waiting=8, default_timeout_ms=60_000)


class PlayedEngine:
    """An engine whose output a test says, piece by piece."""

    features: ClassVar[frozenset[Feature]] = frozenset(FEATURES)
    limits = EngineLimits(_LIMITS.max_batch_size, _LIMITS.max_seq_len, 100_000)

    def __init__(self) -> None:
        self.receivers: list[OnDelta] = []

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:  # noqa: ARG002 - the test knows it
        self.receivers.append(on_delta)

    def abort(self, request_id: int) -> None:
        pass

    def stats(self) -> EngineStats:
        return EngineStats(0, 0, 0.0)

    def close(self) -> None:
        pass


def played_service(engine: PlayedEngine, vocabulary: Vocabulary, interval_ms: float) -> Service:
    """A service on it, with 16 places."""
    clock = VirtualClock()
    service = Service(engine, vocabulary, _LIMITS, RuntimeDir(None), interval_ms, clock=clock)
    service.clock = clock
    return service


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts services with these scripts, and makes sure that nothing is left of them."""
    services: list[Service] = []
    before = set(threading.enumerate())  # also of other tests, such as a client's that has not been forgotten yet

    def start(
        *scripts: Script,
        interval_ms: float | None = 1,
        engine: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        stops: StopRule = "any",
        recorder: Recorder | None = None,
        **changes: Any,
    ) -> Service:
        package = make_package(tmp_path / f"package-{len(services)}", *scripts, engine=engine, **changes)
        clock = VirtualClock()
        recording = RecordingEngine(SimulatedEngine(package, clock), **limits or {})
        vocabulary = Vocabulary.load(package.tokenizer_path)
        admitted, runtime_dir = package.serving.limits, RuntimeDir(tmp_path)
        service = Service(
            recording,
            vocabulary,
            admitted,
            runtime_dir,
            interval_ms,
            probe_id=PROBE,
            stops=stops,
            recorder=recorder,
            clock=clock,
        )
        service.engine, service.vocabulary, service.clock = recording, vocabulary, clock
        services.append(service)
        return service

    yield start
    for service in services:
        service.close()
        service.engine.close()
    assert not [thread.name for thread in set(threading.enumerate()) - before]
