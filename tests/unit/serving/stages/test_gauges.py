from __future__ import annotations

import threading

from nemotron_serving.stages.gauges import GaugeReporter
from tests.unit.serving.support import eventually


class Gauge:
    def __init__(self) -> None:
        self.values: list[float] = []

    def set(self, value: float) -> None:
        self.values.append(value)


def test_only_changes_are_published_and_closing_ends_the_thread() -> None:
    gauge, current, reads = Gauge(), {"n": 1.0}, []

    def read() -> dict[str, float]:
        reads.append(1)
        return dict(current)

    reporter = GaugeReporter({"n": gauge}, read)
    assert eventually(lambda: len(reads) >= 2)
    assert gauge.values == [1.0]
    current["n"] = 2.0
    assert eventually(lambda: gauge.values == [1.0, 2.0])
    reporter.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "nemotron-metrics"]
