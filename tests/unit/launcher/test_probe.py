from __future__ import annotations

from nemotron_serving.launcher.probe import sum_of_gauge

EXPOSITION = """# HELP running Requests
# TYPE running gauge
running{model="a",version="1"} 2
running{model="b c"} 3.000000
running_total{model="a"} 100
idle 4
"""


def test_a_gauge_is_summed_over_its_labels() -> None:
    assert sum_of_gauge(EXPOSITION, "running") == 5
    assert sum_of_gauge(EXPOSITION, "idle") == 4
    assert sum_of_gauge(EXPOSITION, "missing") == 0
