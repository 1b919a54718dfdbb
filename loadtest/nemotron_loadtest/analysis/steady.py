"""Whether a measurement was steady.

The window is cut into three. It was steady if the output tokens per second and the 90th percentile of the end-to-end
latency of each part lie within 10 % of the mean of the three; otherwise it was not, and the reason says what moved.
Source: perf_analyzer's three consecutive windows within a stability percentage.

Random arrivals alone move the parts of a short measurement by more than that: the number of requests in a part has a
standard deviation of its square root. Where that may be the reason, it is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from nemotron_loadtest.analysis.percentiles import percentile, samples_needed
from nemotron_loadtest.metrics import END_TO_END, OUTPUT_RATE, Traffic

PARTS = 3
WITHIN = 0.10


class SteadyPart(msgspec.Struct, frozen=True, kw_only=True):
    """A third of the window.

    Attributes:
        start_s: Its start.
        end_s: Its end.
        requests: Whole answers to requests that began in it.
        output_tokens_per_s: Output tokens that came in it, per second.
        e2e_p90_ms: End-to-end latency, from the intended start; None with too few requests.
    """

    start_s: float
    end_s: float
    requests: int
    output_tokens_per_s: float
    e2e_p90_ms: float | None


class Steadiness(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict on a window.

    Attributes:
        steady: Whether it was.
        reason: In a sentence.
        parts: What it was read from.
    """

    steady: bool
    reason: str
    parts: tuple[SteadyPart, ...]

    @property
    def title(self) -> str:
        """STEADY or NOT STEADY."""
        return "STEADY" if self.steady else "NOT STEADY"


def steadiness(traffic: Traffic) -> Steadiness:
    """Judge the window of a run's traffic."""
    parts = tuple(_part(part) for part in traffic.split(PARTS))
    complaints = list(_complaints(parts))
    reason = "; ".join(complaints) or (
        f"output tokens/s and p90 of the end-to-end latency stay within {WITHIN:.0%} over the three thirds"
    )
    return Steadiness(steady=not complaints, reason=reason, parts=parts)


def _part(traffic: Traffic) -> SteadyPart:
    ordered = np.sort(END_TO_END.values(traffic.began, "intended"))
    return SteadyPart(
        start_s=traffic.window.start_s,
        end_s=traffic.window.end_s,
        requests=len(ordered),
        output_tokens_per_s=OUTPUT_RATE.value(traffic) or 0.0,
        e2e_p90_ms=percentile(ordered, "p90"),
    )


def _complaints(parts: Sequence[SteadyPart]) -> list[str]:
    fewest = min(part.requests for part in parts)
    p90s = [part.e2e_p90_ms for part in parts if part.e2e_p90_ms is not None]
    if len(p90s) < PARTS:
        return [f"too few whole answers to tell: {fewest} in a third, {samples_needed('p90')} needed; measure longer"]
    complaints = []
    for title, unit, values in (
        ("output tokens/s", "", [part.output_tokens_per_s for part in parts]),
        ("p90 of the end-to-end latency", " ms", p90s),
    ):
        mean = sum(values) / PARTS
        off = max(abs(value - mean) for value in values) / mean if mean else 0.0
        if off > WITHIN:
            shown = ", ".join(f"{value:,.0f}" for value in values)
            complaints.append(f"{title} moves by {off:.0%} over the three thirds ({shown}{unit})")
    chance = 2 / math.sqrt(fewest)
    if complaints and chance > WITHIN:
        complaints.append(f"with {fewest} requests in a third, {chance:.0%} may be chance: measure longer")
    return complaints
