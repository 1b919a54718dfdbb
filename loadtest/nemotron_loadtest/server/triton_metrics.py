"""Reads gauges and rates from Triton's metrics page.

Names: Triton's docs/user_guide/metrics.md, and the gauges that model_repository/tensorrt_llm reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemotron_loadtest.server.sample import GpuSample, StageSample

Page = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Metric name → its values, each with its labels, as `Client.metrics()` returns it."""

_GAUGES = {
    "in_flight": "nemotron_requests_in_flight",
    "running": "nemotron_requests_running",
    "waiting": "nemotron_requests_waiting",
    "kv_cache_used": "nemotron_kv_cache_used_ratio",
}
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


class TritonMetrics:
    """Follows the pages of one server: its counters become means since the page before."""

    def __init__(self) -> None:
        self._before: dict[str, _Counters] = {}

    def read(self, page: Page) -> dict[str, Any]:
        """The fields of a `ServerSample` that a page holds."""
        gauges = {field: _sum(page, name) for field, name in _GAUGES.items()}
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


def _sum(page: Page, name: str, model: str | None = None) -> float | None:
    """Of a metric over its labels; None where the page does not have it."""
    values = [value for labels, value in page.get(name, ()) if model is None or labels.get("model") == model]
    return sum(values) if values else None
