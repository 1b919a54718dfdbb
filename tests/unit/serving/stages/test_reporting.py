from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nemotron_serving.metrics import METRICS, Metric, Recorder
from nemotron_serving.stages.reporting import MetricsReporter
from tests.unit.serving.support import eventually

REQUESTS, STREAMS = "nemotron_requests_total", "nemotron_postprocessing_streams"


class Published:
    """Keeps what it was told."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[float] = []
        self.calls = 0
        self.fails = fails

    def tell(self, value: float) -> None:
        self.calls += 1
        if self.fails:
            raise RuntimeError("no way to Triton")
        self.told.append(value)

    set = increment = observe = tell


class Triton:
    """The series that were made, by their names and their labels."""

    def __init__(self) -> None:
        self.series: dict[str, dict[tuple[str, ...], Published]] = {}

    def publish(self, metric: Metric, labels: dict[str, str]) -> Published:
        published = Published()
        self.series.setdefault(metric.name, {})[tuple(labels.values())] = published
        return published


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def triton() -> Triton:
    return Triton()


@pytest.fixture
def reporter(recorder: Recorder, triton: Triton) -> Iterator[MetricsReporter]:
    looks = []
    reporter = MetricsReporter("preprocessing", recorder, lambda: looks.append(1), triton.publish)
    yield reporter
    reporter.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "nemotron-metrics"]


@pytest.mark.usefixtures("reporter")
def test_counters_are_there_from_the_start(triton: Triton) -> None:
    assert triton.series.keys() == {REQUESTS}
    assert set(triton.series[REQUESTS]) == {
        ("preprocessing", one, "unknown") for one in ("refused", "invalid", "error")
    }


@pytest.mark.usefixtures("reporter")
def test_counts_are_published_together_and_kept_where_that_fails(recorder: Recorder, triton: Triton) -> None:
    series = triton.series[REQUESTS]["preprocessing", "invalid", "unknown"]
    series.fails = True
    for _ in range(3):
        recorder.count(REQUESTS, outcome="invalid", thinking="unknown")
    assert eventually(lambda: series.calls > 0)
    series.fails = False
    recorder.count(REQUESTS, outcome="invalid", thinking="unknown")
    assert eventually(lambda: sum(series.told) == 4)


def test_gauges_are_published_when_they_change(recorder: Recorder, triton: Triton) -> None:
    value = 1.0
    looks = []

    def look() -> None:
        looks.append(1)
        recorder.set(STREAMS, value)

    reporter = MetricsReporter("postprocessing", recorder, look, triton.publish)
    try:
        assert eventually(lambda: len(looks) >= 2)
        gauge = triton.series[STREAMS]["postprocessing",]
        assert gauge.told == [1.0]
        value = 2.0
        assert eventually(lambda: gauge.told == [1.0, 2.0])
    finally:
        reporter.close()


def test_observations_are_bounded() -> None:
    recorder = Recorder(most=2)
    for value in (1, 2, 3):
        recorder.observe("nemotron_ttft_seconds", value)
    assert [value for _, value in recorder.take()[2]] == [2, 3]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_kinds_go_together(metric: Metric) -> None:
    assert metric.name.startswith("nemotron_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))
