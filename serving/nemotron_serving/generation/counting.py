"""What is told of requests: how many there are, and of each, once, how it went when it is over or is not admitted."""

from __future__ import annotations

import importlib.metadata
import time
from dataclasses import dataclass

from nemotron_serving.engine import EngineLimits
from nemotron_serving.errors import InvalidRequestError, ServingError, UnavailableError
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.generation.stream import Stream
from nemotron_serving.metrics import IN_FLIGHT, Outcome, Recorder, Thinking
from nemotron_serving.package import Package

_THINKING: dict[str, Thinking] = {"thinking": "on", "expected": "on", "answer": "off", "closed": "off"}
_OUTCOMES: dict[str | None, Outcome] = {"cancelled": "cancelled", "timeout": "timeout"}


@dataclass(frozen=True)
class ServiceStats:
    """Requests admitted and not yet answered in full; those that generate and those that wait; KV cache share.

    And the sessions that are open, with or without requests; and whether the server refuses new requests, or will soon.
    """

    in_flight: int
    running: int
    waiting: int
    kv_cache_used: float
    sessions: int
    draining: bool

    def tell(self, recorder: Recorder) -> None:
        """Set the gauges."""
        recorder.set(IN_FLIGHT, self.in_flight)
        recorder.set("nemotron_requests_running", self.running)
        recorder.set("nemotron_requests_waiting", self.waiting)
        recorder.set("nemotron_kv_cache_used_ratio", self.kv_cache_used)
        recorder.set("nemotron_sessions", self.sessions)
        recorder.set("nemotron_draining", self.draining)


class RequestCounts:
    """Counts requests.

    Args:
        recorder: Gets what there is to say.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def refused(self, settings: GenerationSettings, error: ServingError) -> None:
        """A request was not admitted."""
        self._count(outcome_of(error), settings)

    def over(self, stream: Stream, now: float) -> None:
        """A request has told its end, or nobody hears it any more.

        Args:
            stream: The request.
            now: On the service's clock.
        """
        if stream.error is not None:
            self._count("invalid" if stream.refused else "error", stream.settings)
        else:
            self._count(_OUTCOMES.get(stream.finish_reason, "ok"), stream.settings)
        times, record = stream.times, self._recorder
        record.observe("nemotron_request_seconds", now - times.came)
        if times.started is None:
            return
        record.observe("nemotron_wait_seconds", times.started - times.came)
        tokens = stream.num_output_tokens
        for kind, count in (
            ("prompt", len(stream.prompt_ids)),
            ("cached", stream.num_cached_tokens),
            ("output", tokens),
            ("reasoning", stream.num_reasoning_tokens),
        ):
            if count:
                record.count("nemotron_tokens_total", count, kind=kind)
        if times.first is not None:
            record.observe("nemotron_ttft_seconds", times.first - times.came)
            if tokens > 1 and times.done is not None:
                record.observe("nemotron_itl_seconds", (times.done - times.first) / (tokens - 1))

    def _count(self, outcome: Outcome, settings: GenerationSettings) -> None:
        output = settings.output
        thinking = "unknown" if output is None else _THINKING.get(output.start, "unknown")
        self._recorder.count("nemotron_requests_total", outcome=outcome, thinking=thinking)


def tell_of_package(recorder: Recorder, package: Package, engine: EngineLimits) -> None:
    """Set the gauges that stay as they are: what is served, and how much of it at one time."""
    limits, spec = package.serving.limits, package.manifest.engine
    recorder.set("nemotron_max_requests_in_flight", limits.max_in_flight)
    recorder.set("nemotron_max_batch_size", limits.max_batch_size)
    recorder.set("nemotron_kv_cache_tokens", engine.kv_cache_tokens)
    recorder.set("nemotron_start_time_seconds", time.time())
    recorder.set(
        "nemotron_build_info",
        1,
        version=importlib.metadata.version("nemotron-triton"),
        package=package.manifest.name,
        engine=spec.kind,
        precision=spec.precision,
        device=spec.device,
    )


def outcome_of(error: Exception) -> Outcome:
    """How a request ended that was not admitted."""
    if isinstance(error, UnavailableError):
        return "refused"
    return "invalid" if isinstance(error, InvalidRequestError) else "error"
