"""The roofline against published figures, and the constants against the procedure that found them."""

from __future__ import annotations

import pytest

from nemotron_build.plan.roofline import FITTED
from nemotron_build.plan.validation import (
    Comparison,
    ErrorSummary,
    bench_batch,
    compare_latency,
    compare_throughput,
    fit,
    read_published,
)


def rows(comparisons: list[Comparison], *, fitted: bool) -> list[Comparison]:
    return [row for row in comparisons if row.fitted == fitted]


def test_all_rows_of_the_four_gpus_count() -> None:
    per_column = {
        (row.version, row.gpu, row.precision): sum(
            (other.version, other.gpu, other.precision) == (row.version, row.gpu, row.precision)
            for other in read_published().throughput
        )
        for row in read_published().throughput
    }
    engines = [("0.14.0", gpu, "fp8") for gpu in ("h200", "h100", "l40s")]
    engines += [("0.14.0", gpu, "bf16") for gpu in ("h100", "a100")]
    engines += [("0.17", "h200", "fp8"), ("0.17", "h100", "fp8"), ("0.17", "l40s", "fp8"), ("0.17", "a100", "bf16")]
    expected = dict.fromkeys(engines, 9)
    expected |= {("0.21", gpu, "fp8"): 11 for gpu in ("h100", "h200")}
    expected |= {("1.0", gpu, "fp8"): 10 for gpu in ("h100", "h200")}
    assert per_column == expected


def test_throughput_is_as_close_as_promised() -> None:
    comparisons = compare_throughput()
    judged = ErrorSummary.of(rows(comparisons, fitted=False))
    assert judged.rows == 58
    assert judged.median <= 0.15
    assert judged.worst <= 0.35
    everything = ErrorSummary.of(comparisons)
    assert everything.median <= 0.15
    assert everything.worst <= 0.35


@pytest.mark.parametrize("gpu", ["h100", "h200", "a100", "l40s"])
def test_no_gpu_is_much_worse_than_the_others(gpu: str) -> None:
    judged = [row for row in rows(compare_throughput(), fitted=False) if row.gpu == gpu]
    assert ErrorSummary.of(judged).median <= 0.10


def test_latency_is_close_where_few_requests_run() -> None:
    judged = ErrorSummary.of(rows(compare_latency(), fitted=False))
    assert judged.rows == 20
    assert judged.median <= 0.15
    assert judged.worst <= 0.35


def test_no_request_size_is_both_fitted_and_judged() -> None:
    comparisons = compare_throughput()
    fitted, judged = ({row.workload for row in rows(comparisons, fitted=kind)} for kind in (True, False))
    assert fitted and judged
    assert not fitted & judged


def test_the_constants_are_those_that_the_fit_finds() -> None:
    found = fit()
    assert dict(found.compute) == pytest.approx(dict(FITTED.compute), rel=1e-3)
    for name in ("attention", "memory", "step_s"):
        assert getattr(found, name) == pytest.approx(getattr(FITTED, name), rel=1e-3)


def test_no_efficiency_is_beyond_the_data_sheet() -> None:
    for share in (*FITTED.compute.values(), FITTED.attention, FITTED.memory):
        assert 0 < share < 1


def test_the_benchmarks_batch_leaves_room_for_its_logits() -> None:
    # 85.520 GB - 9.081 weights - 1.074 step - 1.074 runtime - 489 x 1.539 MB logits = 73.5 GB; 0.95 of it in 64 KiB a
    # token and 2176 tokens a request: 489.
    assert bench_batch("h100", "fp8", 2176) == 489
    assert bench_batch("h200", "fp8", 256) == 2048
