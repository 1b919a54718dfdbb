"""All metrics, in the order in which reports list them."""

from __future__ import annotations

from nemotron_loadtest.metrics.end_to_end import END_TO_END
from nemotron_loadtest.metrics.first_answer import FIRST_ANSWER
from nemotron_loadtest.metrics.in_flight import IN_FLIGHT
from nemotron_loadtest.metrics.itl import ITL
from nemotron_loadtest.metrics.kinds import Gaps, Latency, Metric, PerRequest, Ratio
from nemotron_loadtest.metrics.outcomes import CANCELLED_SHARE, ERROR_SHARE, INCOMPLETE_SHARE
from nemotron_loadtest.metrics.output_rate import OUTPUT_RATE
from nemotron_loadtest.metrics.prefix_cache import PREFIX_CACHE_SHARE
from nemotron_loadtest.metrics.request_rates import ACHIEVED_SHARE, REQUEST_RATE, REQUESTED_RATE, SENT_RATE
from nemotron_loadtest.metrics.request_speed import REQUEST_SPEED
from nemotron_loadtest.metrics.response_gap import RESPONSE_GAP
from nemotron_loadtest.metrics.schedule_delay import SCHEDULE_DELAY
from nemotron_loadtest.metrics.thinking_time import THINKING_TIME
from nemotron_loadtest.metrics.token_gap import TOKEN_GAP
from nemotron_loadtest.metrics.tokens import OUTPUT_TOKENS, PROMPT_TOKENS, REASONING_TOKENS, THINKING_SHARE
from nemotron_loadtest.metrics.tpot import TPOT
from nemotron_loadtest.metrics.ttft import TTFT

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
"""One figure a window: `Group.figures`."""

LATENCIES: tuple[Latency, ...] = (TTFT, FIRST_ANSWER, END_TO_END)
"""A distribution from each start: `Group.latencies`."""

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
"""A distribution: `Group.distributions`."""

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*LATENCIES, *DISTRIBUTIONS, *RATIOS)}
"""By name, in the order of reports."""
