"""What became of the requests that began in the window, and how many of them were served well enough: the goodput.

    share of an outcome = requests with it / requests

An error is one of the server or of the connection; cancelled was left early on purpose, as the scenario asks;
incomplete is what the run's end, after its drain time, found unfinished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from nemotron_loadtest.metrics.kinds import Latency, Metric, Origin, PerRequest, Ratio, Thinking, is_about
from nemotron_loadtest.metrics.traffic import Traffic
from nemotron_loadtest.samples import Outcome, Sample


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of requests.

    Attributes:
        requests: All.
        ok: Whole answers.
        errors: Failed.
        cancelled: Left on purpose.
        incomplete: Unfinished when the run ended.
        errors_by_type: Failed requests by the client's error class, the most frequent first.
    """

    requests: int
    ok: int
    errors: int
    cancelled: int
    incomplete: int
    errors_by_type: dict[str, int]


def count_outcomes(samples: Sequence[Sample]) -> Outcomes:
    """Count them."""
    counts = Counter(sample.outcome for sample in samples)
    types = Counter(sample.error_type for sample in samples if sample.outcome == "error")
    return Outcomes(
        requests=len(samples),
        ok=counts["ok"],
        errors=counts["error"],
        cancelled=counts["cancelled"],
        incomplete=counts["incomplete"],
        errors_by_type=dict(sorted(types.items(), key=lambda item: (-item[1], item[0]))),
    )


def _share_of(outcome: Outcome) -> Callable[[Traffic], tuple[float, float]]:
    def of(traffic: Traffic) -> tuple[float, float]:
        return sum(sample.outcome == outcome for sample in traffic.began), len(traffic.began)

    return of


ERROR_SHARE = Ratio(name="error_share", title="Failed", unit="share", better="lower", of=_share_of("error"))
INCOMPLETE_SHARE = Ratio(
    name="incomplete_share", title="Unfinished at the end", unit="share", better="lower", of=_share_of("incomplete")
)
CANCELLED_SHARE = Ratio(
    name="cancelled_share", title="Cancelled on purpose", unit="share", better="neither", of=_share_of("cancelled")
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a value of a request may be at most.

    Attributes:
        metric: A latency or another value of a request.
        most: In the metric's unit.
        origin: The start that a latency is measured from.
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
        share: Share of the good ones among these, 0 to 1; None without any.
        per_s: Good requests per second of the window.
    """

    good: int
    requests: int
    share: float | None
    per_s: float


def goodput(samples: Sequence[Sample], limits: Sequence[Limit], length_s: float) -> Goodput:
    """How much of the work was worth something, of the requests that began in a window of this length.

        goodput share = requests that met every limit / requests
        goodput rate  = requests that met every limit / length of the window

    A request meets the limits when it ended whole and none of its values is over a limit that is about it. One that
    failed or was not finished does not meet them. Those cancelled on purpose are left out of both sums. A value that a
    whole answer does not have (the TPOT of a single token) does not count against it.

    Source: Zhong et al., DistServe (OSDI 2024); vLLM's `--goodput`.
    """
    counted = [sample for sample in samples if sample.outcome != "cancelled"]
    good = sum(sample.outcome == "ok" and all(limit.holds(sample) for limit in limits) for sample in counted)
    return Goodput(
        good=good, requests=len(counted), share=good / len(counted) if counted else None, per_s=good / length_s
    )
