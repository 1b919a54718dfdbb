"""Inter-token latency, all gaps.

    gap of a token = (response - response before) / tokens that the response brought

Every token after the first response counts once, with its share of the wait for the response that brought it. The
true gap between two tokens of one response cannot be seen from outside: they come at the same instant, and the
division makes them even. So a server that groups tokens hides its true gaps here (a pause of 300 ms before a response
of ten tokens reads as ten gaps of 30 ms), and the tail of this metric is a lower bound of the true one. What a reader
feels is the undivided wait, `response_gap_ms`.
"""

from __future__ import annotations

from collections.abc import Iterator

from nemotron_loadtest.metrics.kinds import Gaps
from nemotron_loadtest.metrics.traffic import waits
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> Iterator[tuple[float, int]]:
    for wait_s, tokens in waits(sample):
        yield wait_s * 1e3 / tokens, tokens


TOKEN_GAP = Gaps(name="token_gap_ms", title="Inter-token latency, all gaps", unit="ms", better="lower", of=_of)
