"""What is measured: the metrics by kind, each with its formula and the source of it in its docstring.

Latencies are worked out twice: from the intended start (response latency, what a user would have felt) and from the
actual start (service latency, what the server took).
"""

from __future__ import annotations

from nemotron_loadtest.metrics.gaps import ITL, RESPONSE_GAP, TOKEN_GAP, TPOT
from nemotron_loadtest.metrics.kinds import Better, Gaps, Latency, Metric, Origin, PerRequest, Ratio, Thinking, is_about
from nemotron_loadtest.metrics.latencies import END_TO_END, FIRST_ANSWER, SCHEDULE_DELAY, THINKING_TIME, TTFT
from nemotron_loadtest.metrics.outcomes import (
    CANCELLED_SHARE,
    ERROR_SHARE,
    INCOMPLETE_SHARE,
    Goodput,
    Limit,
    Outcomes,
    count_outcomes,
    goodput,
)
from nemotron_loadtest.metrics.rates import (
    ACHIEVED_SHARE,
    IN_FLIGHT,
    OUTPUT_RATE,
    REQUEST_RATE,
    REQUEST_SPEED,
    REQUESTED_RATE,
    SENT_RATE,
)
from nemotron_loadtest.metrics.tokens import (
    OUTPUT_TOKENS,
    PREFIX_CACHE_SHARE,
    PROMPT_TOKENS,
    REASONING_TOKENS,
    THINKING_SHARE,
)
from nemotron_loadtest.metrics.traffic import Array, Traffic, Window

RATIOS: tuple[Ratio, ...] = (
    OUTPUT_RATE,
    REQUEST_RATE,
    REQUESTED_RATE,
    SENT_RATE,
    ACHIEVED_SHARE,
    IN_FLIGHT,
    ERROR_SHARE,
    INCOMPLETE_SHARE,
    CANCELLED_SHARE,
    PREFIX_CACHE_SHARE,
)
"""Metrics of one figure a window, in the order of reports: `Group.figures`."""

LATENCIES: tuple[Latency, ...] = (TTFT, FIRST_ANSWER, END_TO_END)
"""Metrics of a distribution from each start, in the order of reports: `Group.latencies`."""

DISTRIBUTIONS: tuple[PerRequest | Gaps, ...] = (
    THINKING_TIME,
    ITL,
    TOKEN_GAP,
    RESPONSE_GAP,
    TPOT,
    REQUEST_SPEED,
    SCHEDULE_DELAY,
    PROMPT_TOKENS,
    OUTPUT_TOKENS,
    REASONING_TOKENS,
    THINKING_SHARE,
)
"""Metrics of one distribution, in the order of reports: `Group.distributions`."""

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*LATENCIES, *DISTRIBUTIONS, *RATIOS)}
"""All metrics by name, in the order of reports."""

__all__ = [
    "ACHIEVED_SHARE",
    "DISTRIBUTIONS",
    "END_TO_END",
    "FIRST_ANSWER",
    "IN_FLIGHT",
    "ITL",
    "LATENCIES",
    "METRICS",
    "OUTPUT_RATE",
    "RATIOS",
    "REQUESTED_RATE",
    "REQUEST_RATE",
    "SCHEDULE_DELAY",
    "TTFT",
    "Array",
    "Better",
    "Gaps",
    "Goodput",
    "Latency",
    "Limit",
    "Metric",
    "Origin",
    "Outcomes",
    "PerRequest",
    "Ratio",
    "Thinking",
    "Traffic",
    "Window",
    "count_outcomes",
    "goodput",
    "is_about",
]
