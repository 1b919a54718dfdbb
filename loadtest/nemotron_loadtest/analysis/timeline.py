"""A run over time, slice by slice: for plots, on the same axis as what was scraped from the server."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemotron_loadtest.analysis.percentiles import Distribution, describe
from nemotron_loadtest.metrics import (
    END_TO_END,
    IN_FLIGHT,
    OUTPUT_RATE,
    REQUEST_RATE,
    REQUESTED_RATE,
    TTFT,
    Traffic,
    Window,
)
from nemotron_loadtest.samples import Sample

_SLICES = 60


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a slice of time, and how the requests that began in it fared.

    Attributes:
        start_s: Its start.
        end_s: Its end.
        requested_per_s: Intended starts.
        requests_per_s: Whole answers that ended.
        output_tokens_per_s: Output tokens that came.
        in_flight: Requests under way, mean.
        errors: Failed requests among those that began.
        ttft_ms: Their time to first token, from the intended start.
        e2e_ms: Their end-to-end latency, from the intended start.
    """

    start_s: float
    end_s: float
    requested_per_s: float
    requests_per_s: float
    output_tokens_per_s: float
    in_flight: float
    errors: int
    ttft_ms: Distribution
    e2e_ms: Distribution


def timeline(traffic: Traffic, width_s: float | None = None) -> tuple[Slice, ...]:
    """The window of a run's traffic in slices of about this width; some sixty of a second or more if none is given."""
    length_s = traffic.window.length_s
    wanted = _SLICES if width_s is None else length_s / width_s
    most = length_s if width_s is None else wanted
    return tuple(_slice(part) for part in traffic.split(max(1, round(min(wanted, most)))))


def whole_run(samples: Sequence[Sample], window: Window) -> Window:
    """From the start of the run to the end of its last request, drain included."""
    return Window(
        min([0.0, window.start_s, *(sample.intended_s for sample in samples)]),
        max([window.end_s, *(sample.ended_s for sample in samples)]),
    )


def _slice(traffic: Traffic) -> Slice:
    window = traffic.window
    return Slice(
        start_s=window.start_s,
        end_s=window.end_s,
        requested_per_s=REQUESTED_RATE.value(traffic) or 0.0,
        requests_per_s=REQUEST_RATE.value(traffic) or 0.0,
        output_tokens_per_s=OUTPUT_RATE.value(traffic) or 0.0,
        in_flight=IN_FLIGHT.value(traffic) or 0.0,
        errors=sum(sample.outcome == "error" for sample in traffic.began),
        ttft_ms=describe(TTFT.values(traffic.began, "intended")),
        e2e_ms=describe(END_TO_END.values(traffic.began, "intended")),
    )
