"""What a run came to: `summarise(samples, window)`, and slice by slice over time: `timeline(traffic)`.

The summary is what reports are made of and verdicts are given on. It is written as a part of report.json, whose
`schema_version` covers it; docs/loadtest/metrics.md says what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from nemotron_loadtest.analysis.percentiles import Distribution, describe
from nemotron_loadtest.analysis.slo import Slo
from nemotron_loadtest.analysis.soundness import Saturation, Steadiness, saturation, steadiness
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import (
    DISTRIBUTIONS,
    END_TO_END,
    IN_FLIGHT,
    LATENCIES,
    OUTPUT_RATE,
    RATIOS,
    REQUEST_RATE,
    REQUESTED_RATE,
    TTFT,
    Goodput,
    Origin,
    Outcomes,
    Thinking,
    Traffic,
    Window,
    count_outcomes,
    goodput,
    is_about,
)
from nemotron_loadtest.samples import Sample

_SLICES = 60


class FromBoth(msgspec.Struct, frozen=True, kw_only=True):
    """A latency from both starts.

    Attributes:
        intended: Response latency: from when the schedule wanted the request sent.
        actual: Service latency: from when it was sent.
    """

    intended: Distribution
    actual: Distribution

    def since(self, origin: Origin) -> Distribution:
        """The latency from one of the two starts."""
        return self.intended if origin == "intended" else self.actual


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of all requests, or of those with thinking on or off.

    Attributes:
        outcomes: What became of them.
        figures: The value of each ratio metric by its name; None over nothing.
        latencies: The distributions of each latency metric by its name.
        distributions: The distribution of each other metric by its name.
        goodput: Under the SLO that the summary was made with; None without one.
    """

    outcomes: Outcomes
    figures: dict[str, float | None]
    latencies: dict[str, FromBoth]
    distributions: dict[str, Distribution]
    goodput: Goodput | None = None

    def distribution(self, metric: str, origin: Origin = "intended") -> Distribution:
        """The distribution of a latency or another distributed metric; the origin matters for latencies alone."""
        if metric in self.latencies:
            return self.latencies[metric].since(origin)
        return self.distributions[metric]


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


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to.

    Attributes:
        window: What was measured: requests whose intended start lies in it.
        before: Requests that began before it, as warm-up, and are in no figure but the rates of what happened later.
        slo: Name of the SLO that the goodput is under; None without one.
        groups: By thinking: `all`, `on`, `off`.
        steadiness: Whether the window was steady.
        saturation: Whether the server was asked for too much.
        timeline: The whole run, warm-up and drain included, in slices.
    """

    window: Window
    before: int
    slo: str | None
    groups: dict[Thinking, Group]
    steadiness: Steadiness
    saturation: Saturation
    timeline: tuple[Slice, ...]

    @property
    def all(self) -> Group:
        """The figures of all requests."""
        return self.groups["all"]


def summarise(samples: Iterable[Sample], window: Window, slo: Slo | None = None) -> Summary:
    """Work out every figure of a run.

    Args:
        samples: All requests of the run in any order, those of the warm-up included: their tokens count in the rates
            where they came in the window.
        window: From the end of the warm-up to the end of the arrivals.
        slo: For the goodput.

    Raises:
        LoadTestError: the window has no length.
    """
    check_length(window)
    everything = list(samples)
    traffic = Traffic(everything, window)
    return Summary(
        window=window,
        before=sum(sample.intended_s < window.start_s for sample in everything),
        slo=slo.name if slo else None,
        groups={thinking: _group(everything, window, thinking, slo) for thinking in ("all", "on", "off")},
        steadiness=steadiness(traffic),
        saturation=saturation(traffic),
        timeline=timeline(traffic.within(whole_run(everything, window))),
    )


def check_length(window: Window) -> None:
    """See that there is something to work out.

    Raises:
        LoadTestError: the window has no length.
    """
    if not window.length_s > 0:
        raise LoadTestError(
            f"Nothing was measured: the window goes from {window.start_s:g} s to {window.end_s:g} s. "
            "Make duration_s longer than warmup_s."
        )


def _group(samples: Sequence[Sample], window: Window, thinking: Thinking, slo: Slo | None) -> Group:
    traffic = Traffic((sample for sample in samples if is_about(thinking, sample)), window)
    began = traffic.began
    return Group(
        outcomes=count_outcomes(began),
        figures={metric.name: metric.value(traffic) for metric in RATIOS},
        latencies={
            metric.name: FromBoth(
                intended=describe(metric.values(began, "intended")),
                actual=describe(metric.values(began, "actual")),
            )
            for metric in LATENCIES
        },
        distributions={metric.name: describe(metric.values(began)) for metric in DISTRIBUTIONS},
        goodput=goodput(began, slo.limits(), window.length_s) if slo else None,
    )


def timeline(traffic: Traffic, width_s: float | None = None) -> tuple[Slice, ...]:
    """The window of a run's traffic in slices of about this width; some sixty of a second or more if none is given."""
    length_s = traffic.window.length_s
    wanted = _SLICES if width_s is None else length_s / width_s
    most = length_s if width_s is None else wanted
    return tuple(_slice(part) for part in traffic.split(max(1, round(min(wanted, most)))))


def whole_run(samples: Sequence[Sample], window: Window) -> Window:
    """The window from the start of the run to the end of its last request, drain included."""
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
