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
from nemotron_loadtest.analysis.search import Capacity, Trial, find_capacity
from nemotron_loadtest.analysis.slo import BUILT_IN, Clause, Slo, load_slo, slo_names
from nemotron_loadtest.analysis.soundness import Saturation, Steadiness, Trend, saturation, steadiness
from nemotron_loadtest.analysis.summary import (
    FromBoth,
    Group,
    Slice,
    Summary,
    summarise,
    timeline,
)
from nemotron_loadtest.analysis.verdict import ClauseResult, Verdict, judge

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
    "Group",
    "Percentile",
    "Run",
    "Saturation",
    "Slice",
    "Slo",
    "Steadiness",
    "Summary",
    "Trend",
    "Trial",
    "Verdict",
    "compare",
    "describe",
    "find_capacity",
    "judge",
    "load_slo",
    "samples_for_trust",
    "samples_needed",
    "saturation",
    "slo_names",
    "steadiness",
    "summarise",
    "timeline",
]
