"""Output tokens per second of a request.

    speed = output tokens / (end of the stream - actual start)

The wait for the first token is part of it. Of whole answers. Thinking tokens count: the engine made them.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> float | None:
    took_s = sample.ended_s - sample.started_s
    return sample.output_tokens / took_s if sample.outcome == "ok" and took_s > 0 else None


REQUEST_SPEED = PerRequest(
    name="request_tokens_per_s", title="Output tokens per second of a request", unit="tokens/s", better="higher", of=_of
)
