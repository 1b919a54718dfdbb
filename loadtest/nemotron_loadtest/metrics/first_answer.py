"""Time to the first token of the answer.

    TTFA = first text of the answer, or first tool call - start

What a reader waits for. With thinking off it is the TTFT, with thinking on the TTFT and the thinking time. None
without an answer (the token limit cut the thinking short) and for a user that does not stream.

Source: GuideLLM's first output token iteration, the first token that is not reasoning.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Latency
from nemotron_loadtest.samples import Sample


def _until(sample: Sample) -> float | None:
    return sample.first_answer_s if sample.streams else None


FIRST_ANSWER = Latency(
    name="first_answer_ms", title="Time to first answer token", unit="ms", better="lower", until=_until
)
