"""How long a request took until something happened: to the first token, to the answer, to the end."""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Latency, PerRequest
from nemotron_loadtest.samples import Sample


def _first_token(sample: Sample) -> float | None:
    return sample.first_token_s if sample.streams else None


TTFT = Latency(name="ttft_ms", title="Time to first token", unit="ms", better="lower", until=_first_token)
"""Time to first token.

    TTFT = first response with a token - start

The first token of all, a thinking token where the model thinks. Any request that got one counts, whatever became of
it later. None for a user that does not stream: it sees nothing before the end.

Source: MLPerf Inference (LoadGen's first token latency) and AIPerf take the same span.
"""


def _first_answer(sample: Sample) -> float | None:
    return sample.first_answer_s if sample.streams else None


FIRST_ANSWER = Latency(
    name="first_answer_ms", title="Time to first answer token", unit="ms", better="lower", until=_first_answer
)
"""Time to the first token of the answer.

    TTFA = first text of the answer, or first tool call - start

What a reader waits for. With thinking off it is the TTFT, with thinking on the TTFT and the thinking time. None
without an answer (the token limit cut the thinking short) and for a user that does not stream.

Source: GuideLLM's first output token iteration, the first token that is not reasoning.
"""


def _end(sample: Sample) -> float | None:
    return sample.ended_s if sample.outcome == "ok" else None


END_TO_END = Latency(name="e2e_ms", title="End-to-end latency", unit="ms", better="lower", until=_end)
"""End-to-end latency.

    E2E = end of the stream - start

Whole answers alone: of a request that failed or was left, the length says nothing about the server's speed.

Source: AIPerf's request latency.
"""


def _thinking_time(sample: Sample) -> float | None:
    first_token_s, first_answer_s = sample.first_token_s, sample.first_answer_s
    if not sample.streams or sample.reasoning_tokens == 0 or first_token_s is None or first_answer_s is None:
        return None
    if sample.reasoning_tokens is None and first_answer_s <= first_token_s:  # not told, but seen
        return None
    return (first_answer_s - first_token_s) * 1e3


THINKING_TIME = PerRequest(name="thinking_time_ms", title="Thinking time", unit="ms", better="lower", of=_thinking_time)
"""Thinking time.

    thinking time = first text of the answer, or first tool call - first token

Of requests that thought and then answered. A thought that was cut off has no known length: None.
"""


def _schedule_delay(sample: Sample) -> float:
    return (sample.started_s - sample.intended_s) * 1e3


SCHEDULE_DELAY = PerRequest(
    name="schedule_delay_ms", title="Schedule delay", unit="ms", better="lower", of=_schedule_delay
)
"""Schedule delay: how late the load generator was.

    delay = actual start - intended start

Not the server's doing. Where it is large, latencies from the actual start hide waiting that users would have had, and
those from the intended start blame the server for the generator. Zero in a closed loop, which has no schedule.

Source: inference-perf's schedule delay; Tene, "How NOT to Measure Latency" (coordinated omission).
"""
