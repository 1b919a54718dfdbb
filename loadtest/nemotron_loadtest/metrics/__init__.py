"""What is measured: one metric a module, its formula and the source of it in the docstring.

Latencies are worked out twice: from the intended start (response latency, what a user would have felt) and from the
actual start (service latency, what the server took).
"""

from __future__ import annotations

from nemotron_loadtest.metrics.goodput import Goodput, Limit, goodput
from nemotron_loadtest.metrics.kinds import Better, Gaps, Latency, Metric, Origin, PerRequest, Ratio
from nemotron_loadtest.metrics.outcomes import Outcomes, count_outcomes
from nemotron_loadtest.metrics.registry import DISTRIBUTIONS, LATENCIES, METRICS, RATIOS
from nemotron_loadtest.metrics.thinking import Thinking, is_about
from nemotron_loadtest.metrics.traffic import Traffic, Window

__all__ = [
    "DISTRIBUTIONS",
    "LATENCIES",
    "METRICS",
    "RATIOS",
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
