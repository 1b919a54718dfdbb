"""How much went through: requests and tokens per second, and how many requests were under way.

Requests per second come in four steps, from the wish to the result. Source: inference-perf's requested and achieved
rate.
"""

from __future__ import annotations

from collections.abc import Callable

from nemotron_loadtest.metrics.kinds import Better, PerRequest, Ratio
from nemotron_loadtest.metrics.traffic import Traffic
from nemotron_loadtest.samples import Sample


def _per_second(name: str, title: str, unit: str, better: Better, counted: Callable[[Traffic], float]) -> Ratio:
    """What happened in the window / its length."""
    return Ratio(
        name=name,
        title=title,
        unit=unit,
        better=better,
        of=lambda traffic: (counted(traffic), traffic.window.length_s),
    )


REQUESTED_RATE = _per_second(
    "requested_per_s", "Requested rate", "requests/s", "neither", lambda traffic: traffic.requested
)
"""Requested rate.

    rate = intended starts in the window / its length
"""

SENT_RATE = _per_second("sent_per_s", "Sent rate", "requests/s", "neither", lambda traffic: traffic.sent)
"""Sent rate.

    rate = actual starts in the window / its length

Below the requested one, it is the generator's fault.
"""

REQUEST_RATE = _per_second(
    "requests_per_s", "Completed requests per second", "requests/s", "higher", lambda traffic: traffic.completed
)
"""Completed requests per second.

    rate = whole answers that ended in the window / its length
"""

ACHIEVED_SHARE = Ratio(
    name="achieved_share",
    title="Achieved of requested",
    unit="share",
    better="higher",
    of=lambda traffic: (traffic.achieved, traffic.requested),
)
"""Achieved of requested.

    share = requests that ended as meant in the window / intended starts in it

Cancelled on purpose counts as ended as meant. A server that keeps up has an achieved share near 1; below it by more
than chance, work piles up or is refused.
"""

IN_FLIGHT = _per_second(
    "in_flight", "Requests in flight", "requests", "neither", lambda traffic: traffic.request_seconds
)
"""Requests in flight, the mean over the window.

    in flight = time that requests spent under way in the window, added up / its length

Source: Little's law, L = rate * time, holds between this, the sent rate and the mean service latency.
"""

OUTPUT_RATE = _per_second(
    "output_tokens_per_s", "Output tokens per second", "tokens/s", "higher", lambda traffic: traffic.output_tokens
)
"""Output tokens per second of the whole system.

    rate = output tokens that came in the window / its length

Every token counts, those of requests that failed or were left as well.
"""


def _speed(sample: Sample) -> float | None:
    took_s = sample.ended_s - sample.started_s
    return sample.output_tokens / took_s if sample.outcome == "ok" and took_s > 0 else None


REQUEST_SPEED = PerRequest(
    name="request_tokens_per_s",
    title="Output tokens per second of a request",
    unit="tokens/s",
    better="higher",
    of=_speed,
)
"""Output tokens per second of a request.

    speed = output tokens / (end of the stream - actual start)

The wait for the first token is part of it. Of whole answers. Thinking tokens count: the engine made them.
"""
