from __future__ import annotations

import pytest

from nemotron_loadtest.server.monitor import Page, TritonMetrics


def page(*, taken: float = 0, queue_us: float = 0, compute_us: float = 0, **gauges: float) -> Page:
    model = {"model": "preprocessing", "version": "1"}
    return {
        "nv_inference_count": [(model, taken), ({"model": "ensemble"}, 99)],
        "nv_inference_queue_duration_us": [(model, queue_us), ({"model": "ensemble"}, 7e9)],
        "nv_inference_compute_input_duration_us": [(model, compute_us / 4)],
        "nv_inference_compute_infer_duration_us": [(model, compute_us / 2)],
        "nv_inference_compute_output_duration_us": [(model, compute_us / 4)],
        "nv_inference_pending_request_count": [(model, 3)],
        **{name: [({"model": "tensorrt_llm"}, value)] for name, value in gauges.items()},
    }


def test_gauges_of_this_stack_are_read() -> None:
    found = TritonMetrics().read(
        page(
            nemotron_requests_in_flight=12,
            nemotron_requests_running=8,
            nemotron_requests_waiting=4,
            nemotron_kv_cache_used_ratio=0.25,
        )
    )

    assert (found["in_flight"], found["running"], found["waiting"], found["kv_cache_used"]) == (12, 8, 4, 0.25)


def test_a_gauge_that_the_page_lacks_is_no_value() -> None:
    assert TritonMetrics().read({})["running"] is None


def test_counters_become_means_since_the_page_before() -> None:
    metrics = TritonMetrics()
    first = metrics.read(page(taken=10, queue_us=5_000, compute_us=50_000))["stages"]["preprocessing"]
    second = metrics.read(page(taken=14, queue_us=13_000, compute_us=90_000))["stages"]["preprocessing"]

    assert (first.pending, first.queue_ms, first.compute_ms) == (3, None, None)
    assert second.queue_ms == pytest.approx(2.0)
    assert second.compute_ms == pytest.approx(10.0)


def test_a_model_that_took_nothing_has_no_mean() -> None:
    metrics = TritonMetrics()
    metrics.read(page(taken=10, queue_us=5_000))

    assert metrics.read(page(taken=10, queue_us=5_000))["stages"]["preprocessing"].queue_ms is None


def test_after_forgetting_counters_begin_anew() -> None:
    metrics = TritonMetrics()
    metrics.read(page(taken=10, queue_us=5_000))
    metrics.forget()

    assert metrics.read(page(taken=30, queue_us=9_000))["stages"]["preprocessing"].queue_ms is None


def test_counters_that_went_back_are_no_mean() -> None:
    metrics = TritonMetrics()
    metrics.read(page(taken=10, queue_us=5_000))

    assert metrics.read(page(taken=2, queue_us=100))["stages"]["preprocessing"].queue_ms is None


def test_the_ensemble_is_no_stage_of_its_own() -> None:
    assert set(TritonMetrics().read(page(taken=1))["stages"]) == {"preprocessing"}


def test_gpus_that_triton_reports() -> None:
    b, a = {"gpu_uuid": "GPU-b"}, {"gpu_uuid": "GPU-a"}
    gpus = TritonMetrics().read(
        {
            "nv_gpu_utilization": [(b, 0.5), (a, 0.9)],
            "nv_gpu_memory_used_bytes": [(b, 10.0), (a, 20.0)],
            "nv_gpu_memory_total_bytes": [(b, 80.0), (a, 80.0)],
            "nv_gpu_power_usage": [(a, 350.5)],
        }
    )["gpus"]

    assert [(gpu.index, gpu.busy, gpu.memory_bytes, gpu.power_w) for gpu in gpus] == [
        (0, 0.9, 20, 350.5),
        (1, 0.5, 10, None),
    ]
