"""Looks at servers while a run goes on, at their metrics page, their processes and their GPUs: `ServerMonitor`.

A server that cannot be read is counted and asked again; nothing that happens here ends a run. Only `threading` is
used, so the monitor is a greenlet in a process that gevent has patched, and a thread elsewhere.

Names on the page: Triton's docs/user_guide/metrics.md, and the gauges that model_repository/tensorrt_llm reports.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from nemotron_loadtest.server.machine import Gpus, ServerProcesses, by_port, is_local
from nemotron_loadtest.server.sample import GpuSample, ServerSample, StageSample

INTERVAL_S = 1.0
_STOP_S = 5.0

Page = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Metric name → its values, each with its labels, as `Client.metrics()` returns it."""

_GAUGES = {
    "in_flight": ("nemotron_requests_in_flight",),
    "running": (
        "nemotron_requests_running",
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "llamacpp:requests_processing",
    ),
    "waiting": (
        "nemotron_requests_waiting",
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "llamacpp:requests_deferred",
    ),
    "kv_cache_used": ("nemotron_kv_cache_used_ratio", "vllm:kv_cache_usage_perc", "sglang:token_usage"),
}
"""What a page may call them: this stack's first, then other servers', which say less."""
_PENDING = "nv_inference_pending_request_count"
_TAKEN = "nv_inference_count"
_QUEUE_US = "nv_inference_queue_duration_us"
_COMPUTE_US = (
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
)
_GPU_BUSY = "nv_gpu_utilization"
_GPU_MEMORY = "nv_gpu_memory_used_bytes"
_GPU_MEMORY_TOTAL = "nv_gpu_memory_total_bytes"
_GPU_POWER_W = "nv_gpu_power_usage"
# Its counters are the sums of its models'.
_ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Watched:
    """A server to look at.

    Attributes:
        url: Where it listens: its name in the samples.
        read_page: Gets its metrics: `Client.metrics`.
    """

    url: str
    read_page: Callable[[], Page]


class ServerMonitor:
    """A sample a second of each server, from entry to exit.

    Args:
        servers: The servers.
        now: Seconds since the run's start: the clock of the requests' samples.
        on_sample: Called with each sample, from the monitor's thread.
        interval_s: Time between two looks.
    """

    def __init__(
        self,
        servers: Sequence[Watched],
        now: Callable[[], float],
        on_sample: Callable[[ServerSample], None],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.failures = 0
        self._gpus = Gpus() if any(is_local(server.url) for server in servers) else None
        self._followed = [_Followed(server, self._gpus) for server in servers]
        self._now = now
        self._on_sample = on_sample
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server-monitor", daemon=True)

    def __enter__(self) -> ServerMonitor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_STOP_S)

    def look(self) -> list[ServerSample]:
        """One look at each server, for those who have a loop of their own."""
        samples = [followed.look(self._now) for followed in self._followed]
        self.failures += sum(not sample.scraped for sample in samples)
        return samples

    def _run(self) -> None:
        next_s = self._now()
        while not self._stopped.wait(max(0.0, next_s - self._now())):
            for sample in self.look():
                self._on_sample(sample)
            next_s = place_after(next_s, self._now(), self._interval_s)


def place_after(last_s: float, now_s: float, interval_s: float) -> float:
    """When to look next: on a grid, so that the time that looks take does not add up.

    Args:
        last_s: The place on the grid of the look before.
        now_s: When that look was done; if others have passed meanwhile, their places stay empty.
        interval_s: From one place on the grid to the next.
    """
    missed = max(0.0, now_s - last_s) // interval_s
    return last_s + (missed + 1) * interval_s


class _Followed:
    def __init__(self, server: Watched, gpus: Gpus | None) -> None:
        self._server = server
        self._metrics = TritonMetrics()
        self._processes = ServerProcesses(by_port(server.url))
        self._gpus = gpus if is_local(server.url) else None

    def look(self, now: Callable[[], float]) -> ServerSample:
        at_s = now()
        page = self._page()
        if page is None:
            self._metrics.forget()
        fields: dict[str, Any] = self._metrics.read(page) if page is not None else {}
        cpu_cores, memory_bytes = self._processes.read(now())
        if self._gpus and not fields.get("gpus"):
            fields["gpus"] = self._gpus.read()
        return ServerSample(
            at_s=at_s,
            server=self._server.url,
            scraped=page is not None,
            cpu_cores=cpu_cores,
            memory_bytes=memory_bytes,
            **fields,
        )

    def _page(self) -> Page | None:
        # Only here: what imports reports must not import the client before Locust has made its patches.
        from nemotron_client import NemotronError

        try:
            return self._server.read_page()
        except (NemotronError, OSError, ValueError):
            return None


class TritonMetrics:
    """Follows the pages of one server: its counters become means since the page before."""

    def __init__(self) -> None:
        self._before: dict[str, _Counters] = {}

    def read(self, page: Page) -> dict[str, Any]:
        """The fields of a `ServerSample` that a page holds."""
        gauges = {field: _first(page, names) for field, names in _GAUGES.items()}
        return {**gauges, "stages": self._stages(page), "gpus": _gpus(page)}

    def forget(self) -> None:
        """Begin anew: a server that was away may have been started again, with counters from 0."""
        self._before = {}

    def _stages(self, page: Page) -> dict[str, StageSample]:
        now = {model: _Counters(page, model) for model in _models(page)}
        stages = {model: _stage(page, model, self._before.get(model), counters) for model, counters in now.items()}
        self._before = now
        return stages


class _Counters:
    def __init__(self, page: Page, model: str) -> None:
        self.taken = _sum(page, _TAKEN, model) or 0.0
        self.queue_us = _sum(page, _QUEUE_US, model) or 0.0
        self.compute_us = sum(_sum(page, name, model) or 0.0 for name in _COMPUTE_US)


def _stage(page: Page, model: str, before: _Counters | None, now: _Counters) -> StageSample:
    taken = now.taken - before.taken if before else 0.0
    queue_ms = compute_ms = None
    if before and taken > 0:
        queue_ms = (now.queue_us - before.queue_us) / taken / 1e3
        compute_ms = (now.compute_us - before.compute_us) / taken / 1e3
    return StageSample(pending=round(_sum(page, _PENDING, model) or 0), queue_ms=queue_ms, compute_ms=compute_ms)


def _gpus(page: Page) -> tuple[GpuSample, ...]:
    """Those that Triton sees, where it was built with GPU metrics."""
    busy, used, total, power_w = (
        {labels.get("gpu_uuid", ""): value for labels, value in page.get(name, ())}
        for name in (_GPU_BUSY, _GPU_MEMORY, _GPU_MEMORY_TOTAL, _GPU_POWER_W)
    )
    return tuple(
        GpuSample(
            index=index,
            busy=busy[uuid],
            memory_bytes=round(used[uuid]),
            memory_total_bytes=round(total[uuid]),
            power_w=power_w.get(uuid),
        )
        for index, uuid in enumerate(sorted(busy.keys() & used.keys() & total.keys()))
    )


def _models(page: Page) -> list[str]:
    named = {labels.get("model", "") for labels, _ in page.get(_TAKEN, ())}
    return sorted(named - {"", _ENSEMBLE})


def _first(page: Page, names: Sequence[str]) -> float | None:
    return next((value for name in names if (value := _sum(page, name)) is not None), None)


def _sum(page: Page, name: str, model: str | None = None) -> float | None:
    """The sum of a metric over its labels; None where the page does not have it."""
    values = [value for labels, value in page.get(name, ()) if model is None or labels.get("model") == model]
    return sum(values) if values else None
