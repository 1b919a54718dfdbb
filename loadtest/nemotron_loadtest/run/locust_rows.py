"""What Locust's own tables and web UI show of a sample.

Its rows round times to two digits; every verdict and report of ours is worked out from the samples instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from locust.env import Environment

from nemotron_loadtest.metrics import FIRST_ANSWER, ITL, TTFT, Metric
from nemotron_loadtest.run.clock import RunClock
from nemotron_loadtest.samples import Sample

METRIC = "METRIC"
"""The type of rows that are figures of requests and no requests: they are in none of Locust's totals."""


class FailedError(Exception):
    """What a row of Locust's shows of a request that failed."""


def show(environment: Environment, sample: Sample, clock: RunClock) -> None:
    """Give a sample to Locust."""
    name = f"thinking {'on' if sample.thinking else 'off'}"
    environment.events.request.fire(
        request_type="GRPC" if sample.user.startswith("grpc") else "HTTP",
        name=name,
        response_time=1000 * (sample.ended_s - sample.started_s),
        response_length=sample.output_tokens,
        exception=_failure(sample),
        context={},
        start_time=time.time() - clock.now() + sample.started_s,
    )
    for metric, milliseconds in _metrics(sample):
        # Not as an event: that would count it as one more request in the row "Aggregated" and in the charts.
        environment.stats.get(f"{name}: {metric}", METRIC).log(round(milliseconds), 0)


def _failure(sample: Sample) -> Exception | None:
    if sample.outcome in ("ok", "cancelled"):
        return None
    return FailedError(sample.error_type or sample.outcome)


def _metrics(sample: Sample) -> Iterator[tuple[str, float]]:
    found: list[tuple[Metric, float | None]] = [
        (TTFT, TTFT.of(sample, "actual")),
        (FIRST_ANSWER, FIRST_ANSWER.of(sample, "actual")),
        (ITL, ITL.of(sample)),
    ]
    for metric, value in found:
        if value is not None:
            yield metric.title, value
