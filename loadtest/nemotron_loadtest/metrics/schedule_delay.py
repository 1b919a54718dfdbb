"""Schedule delay: how late the load generator was.

    delay = actual start - intended start

Not the server's doing. Where it is large, latencies from the actual start hide waiting that users would have had, and
those from the intended start blame the server for the generator. Zero in a closed loop, which has no schedule.

Source: inference-perf's schedule delay; Tene, "How NOT to Measure Latency" (coordinated omission).
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> float:
    return (sample.started_s - sample.intended_s) * 1e3


SCHEDULE_DELAY = PerRequest(name="schedule_delay_ms", title="Schedule delay", unit="ms", better="lower", of=_of)
