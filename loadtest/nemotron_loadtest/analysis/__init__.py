"""What samples come to: summaries, verdicts, comparisons and the search for the capacity. No I/O but SLO files."""

from __future__ import annotations

from nemotron_loadtest.analysis.compare import Comparison, Difference, Run, compare
from nemotron_loadtest.analysis.percentiles import (
    PERCENTILES,
    Distribution,
    Percentile,
    describe,
    samples_for_trust,
    samples_needed,
)
from nemotron_loadtest.analysis.saturation import Saturation, Trend, saturation
from nemotron_loadtest.analysis.search import Capacity, Trial, find_capacity
from nemotron_loadtest.analysis.slo import BUILT_IN, Clause, Slo, load_slo
from nemotron_loadtest.analysis.steady import Steadiness, steadiness
from nemotron_loadtest.analysis.summary import (
    FromBoth,
    Group,
    Summary,
    summarise,
)
from nemotron_loadtest.analysis.timeline import Slice, timeline
from nemotron_loadtest.analysis.verdict import ClauseResult, Verdict, judge
from nemotron_loadtest.metrics import Goodput, Outcomes, Traffic, Window

__all__ = [
    "BUILT_IN",
    "PERCENTILES",
    "Capacity",
    "Clause",
    "ClauseResult",
    "Comparison",
    "Difference",
    "Distribution",
    "FromBoth",
    "Goodput",
    "Group",
    "Outcomes",
    "Percentile",
    "Run",
    "Saturation",
    "Slice",
    "Slo",
    "Steadiness",
    "Summary",
    "Traffic",
    "Trend",
    "Trial",
    "Verdict",
    "Window",
    "compare",
    "describe",
    "find_capacity",
    "judge",
    "load_slo",
    "samples_for_trust",
    "samples_needed",
    "saturation",
    "steadiness",
    "summarise",
    "timeline",
]
