"""Gap between responses.

    gap = response - response before

Undivided: what a reader sees stand still on the screen. A server that groups tokens on purpose has longer gaps here at
the same speed, so compare it only between servers that group alike.

Source: AIPerf's inter-chunk latency.
"""

from __future__ import annotations

from collections.abc import Iterator

from nemotron_loadtest.metrics.kinds import Gaps
from nemotron_loadtest.metrics.traffic import waits
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> Iterator[tuple[float, int]]:
    for wait_s, _ in waits(sample):
        yield wait_s * 1e3, 1


RESPONSE_GAP = Gaps(name="response_gap_ms", title="Gap between responses", unit="ms", better="lower", of=_of)
