"""When requests are sent."""

from nemotron_loadtest.arrivals.schedule import Rate, rate_of, schedule, think_times, user_starts
from nemotron_loadtest.arrivals.traces import BLOCK_TOKENS, TraceRequest, check_trace, read_trace

__all__ = [
    "BLOCK_TOKENS",
    "Rate",
    "TraceRequest",
    "check_trace",
    "rate_of",
    "read_trace",
    "schedule",
    "think_times",
    "user_starts",
]
