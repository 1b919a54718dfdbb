"""Goodput: how much of the work was worth something.

    goodput share = requests that met every limit / requests
    goodput rate  = requests that met every limit / length of the window

A request meets the limits when it ended whole and none of its values is over a limit that is about it. One that
failed or was not finished does not meet them. Those cancelled on purpose are left out of both sums. A value that a
whole answer does not have (the TPOT of a single token) does not count against it.

Source: Zhong et al., DistServe (OSDI 2024); vLLM's `--goodput`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from nemotron_loadtest.metrics.kinds import Latency, Metric, Origin, PerRequest
from nemotron_loadtest.metrics.thinking import Thinking, is_about
from nemotron_loadtest.samples import Sample


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a value of a request may be at most.

    Attributes:
        metric: A latency or another value of a request.
        most: In the metric's unit.
        origin: From which start, for a latency.
        thinking: Which requests it is about.
    """

    metric: Metric
    most: float
    origin: Origin = "intended"
    thinking: Thinking = "all"

    def holds(self, sample: Sample) -> bool:
        """Whether a request keeps it, or it is not about this request."""
        if not is_about(self.thinking, sample):
            return True
        value = None
        if isinstance(self.metric, Latency):
            value = self.metric.of(sample, self.origin)
        elif isinstance(self.metric, PerRequest):
            value = self.metric.of(sample)
        return value is None or value <= self.most


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """Goodput of a window.

    Attributes:
        good: Requests that met every limit.
        requests: Requests, less those cancelled on purpose.
        share: Of these; None without any.
        per_s: Good requests per second of the window.
    """

    good: int
    requests: int
    share: float | None
    per_s: float


def goodput(samples: Sequence[Sample], limits: Sequence[Limit], length_s: float) -> Goodput:
    """Goodput of the requests that began in a window of this length."""
    counted = [sample for sample in samples if sample.outcome != "cancelled"]
    good = sum(sample.outcome == "ok" and all(limit.holds(sample) for limit in limits) for sample in counted)
    return Goodput(
        good=good, requests=len(counted), share=good / len(counted) if counted else None, per_s=good / length_s
    )
