"""Service level objectives: what has to hold for a load to be served well.

Built in are the two classes that MLPerf Inference has for Llama 3.1 8B in its Server scenario (p99 of TTFT and TPOT).
An own one is a TOML file:

    name = "chat"
    max_error_rate = 0.01           # failed or unfinished requests, of all
    min_goodput = 0.95              # share of the requests that meet every clause's limit
    max_schedule_delay_ms = 20      # p99; more, and the load generator was too slow to judge the server

    [[clauses]]
    metric = "ttft_ms"
    percentile = 99                 # 50, 90, 95, 99 or 99.9
    limit = 500
    from = "intended"               # or "actual", for latencies
    thinking = "off"                # or "on", "all"
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec

from nemotron_loadtest.analysis.percentiles import PERCENTILES, Percentile
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.metrics import METRICS, Gaps, Latency, Limit, Origin, PerRequest, Thinking
from nemotron_loadtest.scenario import read_toml

DEFAULT_MAX_ERROR_RATE = 0.01
"""One failed request in a hundred, as a p99 lets one in a hundred be slow."""


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"origin": "from"}):
    """A percentile of a metric may be so much at most.

    Attributes:
        metric: Name of a distributed metric of which less is better.
        percentile: 50, 90, 95, 99 or 99.9.
        limit: In the metric's unit.
        origin: The start that a latency is measured from.
        thinking: Which requests it is about.
    """

    metric: str
    percentile: float
    limit: float
    origin: Origin = "intended"
    thinking: Thinking = "all"

    @property
    def statistic(self) -> Percentile:
        """Name of the percentile in a distribution."""
        return cast("Percentile", f"p{self.percentile:g}".replace(".", "_"))


class Slo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold.

    Attributes:
        name: For reports.
        clauses: Limits of percentiles.
        max_error_rate: Failed and unfinished requests, of all that were not cancelled on purpose.
        min_goodput: Share of the requests that meet the limit of every clause; None asks for none.
        max_schedule_delay_ms: p99 of the schedule delay; None asks for nothing.
    """

    name: str
    clauses: tuple[Clause, ...]
    max_error_rate: float = DEFAULT_MAX_ERROR_RATE
    min_goodput: float | None = None
    max_schedule_delay_ms: float | None = None

    def limits(self) -> list[Limit]:
        """What a single request has to keep; gaps are many to a request and left out."""
        return [
            Limit(metric=METRICS[clause.metric], most=clause.limit, origin=clause.origin, thinking=clause.thinking)
            for clause in self.clauses
            if not isinstance(METRICS[clause.metric], Gaps)
        ]


def _mlperf(name: str, *, ttft_ms: float, tpot_ms: float) -> Slo:
    return Slo(
        name=name,
        clauses=(
            Clause(metric="ttft_ms", percentile=99, limit=ttft_ms),
            Clause(metric="tpot_ms", percentile=99, limit=tpot_ms),
        ),
        max_schedule_delay_ms=ttft_ms / 20,
    )


BUILT_IN: dict[str, Slo] = {
    slo.name: slo
    for slo in (
        _mlperf("server", ttft_ms=2000, tpot_ms=100),
        _mlperf("interactive", ttft_ms=500, tpot_ms=30),
    )
}
"""MLPerf Inference, loadgen/mlperf.conf: llama3_1-8b and llama3_1-8b-interactive, Server."""


_SHIPPED = Path(__file__).parents[1] / "slos"


def slo_names() -> list[str]:
    """What `load_slo` takes by name: the built-in classes, and the files that ship."""
    return [*BUILT_IN, *sorted(path.stem for path in _SHIPPED.glob("*.toml"))]


def load_slo(name_or_path: str | Path) -> Slo:
    """A built-in class or a shipped file by name, or the SLO in a TOML file.

    Raises:
        ScenarioError: there is none, or the file cannot be used; names the field.
    """
    if str(name_or_path) in BUILT_IN:
        return BUILT_IN[str(name_or_path)]
    names = ", ".join(slo_names())
    path = Path(name_or_path)
    if not path.is_file() and str(name_or_path) in slo_names():
        path = _SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        raise ScenarioError(f"There is no SLO {str(name_or_path)!r}. Name one of {names}, or the path of a TOML file.")
    _, content = read_toml(path, "an SLO", otherwise=f"one of {names}")
    try:
        slo = msgspec.convert({"name": path.stem, **content}, Slo)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"SLO {path}: {error}.") from None
    if complaint := _complaint(slo):
        raise ScenarioError(f"SLO {path}: {complaint}.")
    return slo


def _complaint(slo: Slo) -> str | None:
    for place, clause in enumerate(slo.clauses):
        if complaint := _clause_complaint(clause):
            return f"clauses[{place}].{complaint}"
    for field, value in (("max_error_rate", slo.max_error_rate), ("min_goodput", slo.min_goodput)):
        if value is not None and not 0 <= value <= 1:
            return f"{field} is {value:g}, expected a share from 0 to 1"
    if slo.max_schedule_delay_ms is not None and not slo.max_schedule_delay_ms > 0:
        return f"max_schedule_delay_ms is {slo.max_schedule_delay_ms:g}, expected milliseconds above 0"
    if slo.min_goodput is not None and not slo.limits():
        return "min_goodput needs a clause whose limit a request can meet"
    return None


def _clause_complaint(clause: Clause) -> str | None:
    known = [
        metric.name
        for metric in METRICS.values()
        if isinstance(metric, (Latency, PerRequest, Gaps)) and metric.better == "lower"
    ]
    if clause.metric not in known:
        return f"metric is {clause.metric!r}, expected one of {', '.join(known)}"
    if clause.statistic not in PERCENTILES:
        return f"percentile is {clause.percentile:g}, expected 50, 90, 95, 99 or 99.9"
    if not clause.limit > 0:
        return f"limit is {clause.limit:g}, expected a number above 0"
    return None
