"""Thinking time.

    thinking time = first text of the answer, or first tool call - first token

Of requests that thought and then answered. A thought that was cut off has no known length: None.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> float | None:
    first_token_s, first_answer_s = sample.first_token_s, sample.first_answer_s
    if not (sample.streams and sample.reasoning_tokens) or first_token_s is None or first_answer_s is None:
        return None
    return (first_answer_s - first_token_s) * 1e3


THINKING_TIME = PerRequest(name="thinking_time_ms", title="Thinking time", unit="ms", better="lower", of=_of)
