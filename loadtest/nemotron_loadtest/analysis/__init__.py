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
    SCHEMA_VERSION,
    FromBoth,
    Group,
    Summary,
    decode_summary,
    encode_summary,
    summarise,
)
from nemotron_loadtest.analysis.timeline import Slice, timeline
from nemotron_loadtest.analysis.verdict import ClauseResult, Verdict, judge
from nemotron_loadtest.metrics import Goodput, Outcomes, Traffic, Window

__all__ = [
    "BUILT_IN",
    "PERCENTILES",
    "SCHEMA_VERSION",
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
    "decode_summary",
    "describe",
    "encode_summary",
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
