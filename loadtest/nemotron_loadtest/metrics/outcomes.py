"""What became of the requests that began in the window.

    share of an outcome = requests with it / requests

An error is one of the server or of the connection; cancelled was left early on purpose, as the scenario asks;
incomplete is what the run's end, after its drain time, found unfinished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from nemotron_loadtest.metrics.kinds import Ratio
from nemotron_loadtest.metrics.traffic import Traffic
from nemotron_loadtest.samples import Outcome, Sample


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of requests.

    Attributes:
        requests: All.
        ok: Whole answers.
        errors: Failed.
        cancelled: Left on purpose.
        incomplete: Unfinished when the run ended.
        errors_by_type: Failed requests by the client's error class, the most frequent first.
    """

    requests: int
    ok: int
    errors: int
    cancelled: int
    incomplete: int
    errors_by_type: dict[str, int]


def count_outcomes(samples: Sequence[Sample]) -> Outcomes:
    """Count them."""
    counts = Counter(sample.outcome for sample in samples)
    types = Counter(sample.error_type for sample in samples if sample.outcome == "error")
    return Outcomes(
        requests=len(samples),
        ok=counts["ok"],
        errors=counts["error"],
        cancelled=counts["cancelled"],
        incomplete=counts["incomplete"],
        errors_by_type=dict(sorted(types.items(), key=lambda item: (-item[1], item[0]))),
    )


def _share_of(outcome: Outcome) -> Callable[[Traffic], tuple[float, float]]:
    def of(traffic: Traffic) -> tuple[float, float]:
        return sum(sample.outcome == outcome for sample in traffic.began), len(traffic.began)

    return of


ERROR_SHARE = Ratio(name="error_share", title="Failed", unit="share", better="lower", of=_share_of("error"))
INCOMPLETE_SHARE = Ratio(
    name="incomplete_share", title="Unfinished at the end", unit="share", better="lower", of=_share_of("incomplete")
)
CANCELLED_SHARE = Ratio(
    name="cancelled_share", title="Cancelled on purpose", unit="share", better="neither", of=_share_of("cancelled")
)
