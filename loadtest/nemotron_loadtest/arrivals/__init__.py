"""When requests are sent."""

from nemotron_loadtest.arrivals.kinds import (
    Arrivals,
    ClosedLoop,
    Constant,
    OpenLoop,
    Poisson,
    Ramp,
    Spike,
    Staircase,
    TraceReplay,
)
from nemotron_loadtest.arrivals.rates import Rate, rate_of
from nemotron_loadtest.arrivals.schedule import schedule, think_times, user_starts
from nemotron_loadtest.arrivals.trace_lines import BLOCK_TOKENS, TraceRequest
from nemotron_loadtest.arrivals.traces import Trace, read_trace

__all__ = [
    "BLOCK_TOKENS",
    "Arrivals",
    "ClosedLoop",
    "Constant",
    "OpenLoop",
    "Poisson",
    "Ramp",
    "Rate",
    "Spike",
    "Staircase",
    "Trace",
    "TraceReplay",
    "TraceRequest",
    "rate_of",
    "read_trace",
    "schedule",
    "think_times",
    "user_starts",
]
