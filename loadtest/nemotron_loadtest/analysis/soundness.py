"""Whether the figures of a window can be believed: it was steady, and the server was not asked for more than it can do.

Steady: the window is cut into three. It was steady if the output tokens per second and the 90th percentile of the
end-to-end latency of each part lie within 10 % of the mean of the three; otherwise it was not, and the reason says what
moved. Source: perf_analyzer's three consecutive windows within a stability percentage. Random arrivals alone move the
parts of a short measurement by more than that: the number of requests in a part has a standard deviation of its square
root. Where that may be the reason, it is said.

Saturated: beyond capacity a queue grows as long as the load lasts, so the figures of a run depend on how long it was
and mean nothing else. The window is cut into batches of equal length; lines are fitted through the batches' mean number
of requests in flight and mean time to first token (end-to-end latency, where the users do not stream). Saturated means:
both lines rise with 97.5 % confidence (Student's t), and fewer requests were achieved than requested.
Source: GuideLLM's over-saturation constraint (slopes of concurrency and TTFT). Batches are ours: in flight now and a
moment later are nearly the same number, which makes a fit through all the moments too sure of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from nemotron_loadtest.analysis.percentiles import percentile, samples_needed, t_quantile
from nemotron_loadtest.metrics import ACHIEVED_SHARE, END_TO_END, IN_FLIGHT, OUTPUT_RATE, TTFT, Latency, Traffic

PARTS = 3
WITHIN = 0.10

LEAST_S = 30.0
LEAST_REQUESTS = 60
ENOUGH_REQUESTS = 1000  # In less than LEAST_S.
_BATCHES = 20
_REQUESTS_PER_BATCH = 10
_KEEPS_UP = 0.98
_CONFIDENCE = 0.975


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


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """A line through batches.

    Attributes:
        slope_per_s: By how much the value rises a second.
        low_per_s: Lower end of the 95 % interval.
        high_per_s: Upper end.
    """

    slope_per_s: float
    low_per_s: float
    high_per_s: float


class Saturation(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict on a window.

    Attributes:
        saturated: Whether the server was; None where the measurement is too short to tell.
        reason: In a sentence.
        achieved_share: Achieved of the requested rate; None without requests.
        in_flight: Trend of the requests in flight.
        latency_ms: Trend of the latency.
    """

    saturated: bool | None
    reason: str
    achieved_share: float | None = None
    in_flight: Trend | None = None
    latency_ms: Trend | None = None


def saturation(traffic: Traffic) -> Saturation:
    """Judge the window of a run's traffic."""
    requests, length_s = len(traffic.began), traffic.window.length_s
    achieved = ACHIEVED_SHARE.value(traffic)
    if requests < LEAST_REQUESTS or (length_s < LEAST_S and requests < ENOUGH_REQUESTS):
        return Saturation(
            saturated=None,
            reason=f"too short to tell: {requests} requests in {length_s:.0f} s; "
            f"{LEAST_REQUESTS} in {LEAST_S:.0f} s needed",
            achieved_share=achieved,
        )
    batches = traffic.split(min(_BATCHES, requests // _REQUESTS_PER_BATCH))
    in_flight = _trend([(_middle_s(batch), IN_FLIGHT.value(batch) or 0.0) for batch in batches])
    streams = len(TTFT.values(traffic.began, "intended")) > 0
    latency = _latency_trend(batches, TTFT if streams else END_TO_END)
    if in_flight is None or latency is None or achieved is None:
        return Saturation(saturated=None, reason="too few answers to tell", achieved_share=achieved)
    saturated = in_flight.low_per_s > 0 and latency.low_per_s > 0 and achieved < _KEEPS_UP
    title = "time to first token" if streams else "end-to-end latency"
    reason = (
        f"requests in flight change by {in_flight.slope_per_s:+.2g} a second and the {title} by "
        f"{latency.slope_per_s:+.2g} ms a second; {achieved:.1%} of the requested rate was achieved"
    )
    return Saturation(
        saturated=saturated, reason=reason, achieved_share=achieved, in_flight=in_flight, latency_ms=latency
    )


def _latency_trend(batches: Sequence[Traffic], metric: Latency) -> Trend | None:
    points = []
    for batch in batches:
        found = metric.values(batch.began, "intended")
        if len(found):
            points.append((_middle_s(batch), float(found.mean())))
    return _trend(points)


def _middle_s(traffic: Traffic) -> float:
    return (traffic.window.start_s + traffic.window.end_s) / 2


def _trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Least squares, with the interval of the slope; None through fewer than six points."""
    count = len(points)
    if count < LEAST_REQUESTS // _REQUESTS_PER_BATCH:
        return None
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    margin = t_quantile(_CONFIDENCE, count - 2) * math.sqrt(rest / (count - 2) / spread)
    return Trend(slope_per_s=slope, low_per_s=slope - margin, high_per_s=slope + margin)
