"""End-to-end latency.

    E2E = end of the stream - start

Whole answers alone: of a request that failed or was left, the length says nothing about the server's speed.

Source: AIPerf's request latency.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Latency
from nemotron_loadtest.samples import Sample


def _until(sample: Sample) -> float | None:
    return sample.ended_s if sample.outcome == "ok" else None


END_TO_END = Latency(name="e2e_ms", title="End-to-end latency", unit="ms", better="lower", until=_until)
