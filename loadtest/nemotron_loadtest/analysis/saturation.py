"""Whether the server was asked for more than it can do.

Beyond capacity a queue grows as long as the load lasts, so the figures of a run depend on how long it was and mean
nothing else. The window is cut into batches of equal length; lines are fitted through the batches' mean number of
requests in flight and mean time to first token (end-to-end latency, where the users do not stream). Saturated means:
both lines rise with 97.5 % confidence (Student's t), and fewer requests were achieved than requested.

Source: GuideLLM's over-saturation constraint (slopes of concurrency and TTFT). Batches are ours: in flight now and a
moment later are nearly the same number, which makes a fit through all the moments too sure of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from nemotron_loadtest.analysis.student import t_quantile
from nemotron_loadtest.metrics import ACHIEVED_SHARE, END_TO_END, IN_FLIGHT, TTFT, Latency, Traffic

LEAST_S = 30.0
LEAST_REQUESTS = 60
ENOUGH_REQUESTS = 1000  # In less than LEAST_S.
_BATCHES = 20
_REQUESTS_PER_BATCH = 10
_KEEPS_UP = 0.98
_CONFIDENCE = 0.975


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
