"""A sweep in a report: the runs of the search for the capacity, and what it found."""

from __future__ import annotations

import msgspec

from nemotron_loadtest.analysis import Capacity, ClauseResult, Distribution, Summary, Verdict
from nemotron_loadtest.capacity import Replica
from nemotron_loadtest.errors import LoadTestError


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a sweep; latencies are from the intended start.

    Attributes:
        rate_per_s: Requested requests per second.
        passed: Whether the SLO was met.
        failures: The clauses that did not hold.
        clauses: What became of each clause of the SLO.
        steady: Whether the run was steady.
        saturated: Whether the server was asked for too much; None where the run was too short to tell.
        requests_per_s: Whole answers per second.
        output_tokens_per_s: Of all requests together.
        in_flight: Mean requests at once.
        thinking_share: Of the requests, those with thinking on.
        output_tokens_on: Mean output tokens of a request with thinking on; None without.
        output_tokens_off: The same with thinking off.
        prompt_tokens: Mean prompt; None without answers.
        error_share: Failed requests; None without requests.
        ttft_ms: Time to first token.
        itl_ms: Inter-token latency, mean of a request.
        e2e_ms: End-to-end latency.
    """

    rate_per_s: float
    passed: bool
    failures: tuple[str, ...]
    steady: bool
    saturated: bool | None
    requests_per_s: float
    output_tokens_per_s: float
    in_flight: float
    thinking_share: float
    output_tokens_on: float | None
    output_tokens_off: float | None
    prompt_tokens: float | None
    error_share: float | None
    ttft_ms: Distribution
    itl_ms: Distribution
    e2e_ms: Distribution
    clauses: tuple[ClauseResult, ...] = ()


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """All of them.

    Attributes:
        slo: Name of the SLO that the runs were judged by.
        capacity: What the search found.
        points: Its runs, in order.
    """

    slo: str
    capacity: Capacity
    points: tuple[SweepPoint, ...]

    def replica(self) -> Replica:
        """What a server takes, for `plan_capacity`.

        Raises:
            LoadTestError: no rate met the SLO.
        """
        rate = self.capacity.rate_per_s
        at_capacity = [point for point in self.points if point.rate_per_s == rate and point.passed]
        if rate is None or not at_capacity:
            raise LoadTestError(
                f"No rate of the sweep met the SLO {self.slo}, so there is no capacity to plan with. "
                "Sweep from a lower rate, or take another SLO."
            )
        point = at_capacity[-1]
        above = [one for one in self.points if one.rate_per_s == self.capacity.fails_at_per_s and not one.passed]
        return Replica(
            rate_per_s=rate,
            slo=self.slo,
            thinking_share=point.thinking_share,
            output_tokens_on=point.output_tokens_on,
            output_tokens_off=point.output_tokens_off,
            prompt_tokens=point.prompt_tokens or 0.0,
            in_flight=point.in_flight,
            output_tokens_per_s=point.output_tokens_per_s,
            stable=self.capacity.stable,
            failures=above[-1].failures if above else (),
        )


def sweep_point(rate_per_s: float, summary: Summary, verdict: Verdict) -> SweepPoint:
    """A run of a sweep from its summary and verdict."""
    both, on, off = (summary.groups[thinking] for thinking in ("all", "on", "off"))
    requests = both.outcomes.requests
    return SweepPoint(
        rate_per_s=rate_per_s,
        passed=verdict.passed,
        failures=tuple(verdict.failures),
        clauses=verdict.clauses,
        steady=summary.steadiness.steady,
        saturated=summary.saturation.saturated,
        requests_per_s=both.figures["requests_per_s"] or 0.0,
        output_tokens_per_s=both.figures["output_tokens_per_s"] or 0.0,
        in_flight=both.figures["in_flight"] or 0.0,
        thinking_share=on.outcomes.requests / requests if requests else 0.0,
        output_tokens_on=on.distribution("output_tokens").mean,
        output_tokens_off=off.distribution("output_tokens").mean,
        prompt_tokens=both.distribution("prompt_tokens").mean,
        error_share=both.figures["error_share"],
        ttft_ms=both.distribution("ttft_ms"),
        itl_ms=both.distribution("itl_ms"),
        e2e_ms=both.distribution("e2e_ms"),
    )
