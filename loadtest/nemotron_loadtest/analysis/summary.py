"""What a run came to: `summarise(samples, window)`.

The summary is what reports are made of and verdicts are given on. It is written as a part of report.json, whose
`schema_version` covers it; docs/loadtest/metrics.md says what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from nemotron_loadtest.analysis.percentiles import Distribution, describe
from nemotron_loadtest.analysis.saturation import Saturation, saturation
from nemotron_loadtest.analysis.slo import Slo
from nemotron_loadtest.analysis.steady import Steadiness, steadiness
from nemotron_loadtest.analysis.timeline import Slice, timeline, whole_run
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import (
    DISTRIBUTIONS,
    LATENCIES,
    RATIOS,
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


class FromBoth(msgspec.Struct, frozen=True, kw_only=True):
    """A latency from both starts.

    Attributes:
        intended: Response latency: from when the schedule wanted the request sent.
        actual: Service latency: from when it was sent.
    """

    intended: Distribution
    actual: Distribution

    def since(self, origin: Origin) -> Distribution:
        """From one of them."""
        return self.intended if origin == "intended" else self.actual


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of all requests, or of those with thinking on or off.

    Attributes:
        outcomes: What became of them.
        figures: By name of the ratio metric; None over nothing.
        latencies: By name of the latency metric.
        distributions: By name of the metric.
        goodput: Under the SLO that the summary was made with; None without one.
    """

    outcomes: Outcomes
    figures: dict[str, float | None]
    latencies: dict[str, FromBoth]
    distributions: dict[str, Distribution]
    goodput: Goodput | None = None

    def distribution(self, metric: str, origin: Origin = "intended") -> Distribution:
        """Of a latency or another distributed metric; the origin matters for latencies alone."""
        if metric in self.latencies:
            return self.latencies[metric].since(origin)
        return self.distributions[metric]


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
        """Of all requests."""
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
