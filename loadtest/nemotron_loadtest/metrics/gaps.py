"""How the tokens of a request followed one another: means of a request, and the gaps themselves."""

from __future__ import annotations

from collections.abc import Iterator

from nemotron_loadtest.metrics.kinds import Gaps, PerRequest
from nemotron_loadtest.metrics.traffic import brought
from nemotron_loadtest.samples import Sample


def _itl(sample: Sample) -> float | None:
    if not sample.arrivals:
        return None
    first, last = sample.arrivals[0], sample.arrivals[-1]
    tokens = last.output_tokens - first.output_tokens
    return (last.at_s - first.at_s) * 1e3 / tokens if tokens > 0 else None


ITL = PerRequest(name="itl_ms", title="Inter-token latency, mean of a request", unit="ms", better="lower", of=_itl)
"""Inter-token latency, the mean of a request.

    ITL = (last response with a token - first response with a token) / tokens that came after the first response

A server may put several tokens into a response. Dividing by the tokens after the first response, and not by all but
one, keeps a first response of several tokens from making the rest look fast. The mean of a request is right however
the server groups its tokens; how even the flow was is what the gaps say (`token_gap_ms`, `response_gap_ms`).
None where all tokens came in one response.

Source: AIPerf's inter-token latency, (latency - TTFT) / (output tokens - 1), which this equals where the first
response holds one token and the stream ends with the last.
"""


def _tpot(sample: Sample) -> float | None:
    first_token_s = sample.first_token_s
    if sample.outcome != "ok" or not sample.streams or first_token_s is None or sample.output_tokens < 2:
        return None
    return (sample.ended_s - first_token_s) * 1e3 / (sample.output_tokens - 1)


TPOT = PerRequest(name="tpot_ms", title="Time per output token", unit="ms", better="lower", of=_tpot)
"""Time per output token, after the first.

    TPOT = (end of the stream - first response with a token) / (output tokens - 1)

MLPerf's figure, which the built-in SLO classes limit. It differs from the ITL by what comes after the last token, the
end of the stream. Of whole answers with two tokens or more. A user that does not stream has no first token to count
from: None.

Source: MLPerf Inference, LoadGen's time per output token.
"""


def _token_gaps(sample: Sample) -> Iterator[tuple[float, int]]:
    for wait_s, tokens in _waits(sample):
        yield wait_s * 1e3 / tokens, tokens


TOKEN_GAP = Gaps(name="token_gap_ms", title="Inter-token latency, all gaps", unit="ms", better="lower", of=_token_gaps)
"""Inter-token latency, all gaps.

    gap of a token = (response - response before) / tokens that the response brought

Every token after the first response counts once, with its share of the wait for the response that brought it. The
true gap between two tokens of one response cannot be seen from outside: they come at the same instant, and the
division makes them even. So a server that groups tokens hides its true gaps here (a pause of 300 ms before a response
of ten tokens reads as ten gaps of 30 ms), and the tail of this metric is a lower bound of the true one. What a reader
feels is the undivided wait, `response_gap_ms`.
"""


def _response_gaps(sample: Sample) -> Iterator[tuple[float, int]]:
    for wait_s, _ in _waits(sample):
        yield wait_s * 1e3, 1


RESPONSE_GAP = Gaps(name="response_gap_ms", title="Gap between responses", unit="ms", better="lower", of=_response_gaps)
"""Gap between responses.

    gap = response - response before

Undivided: what a reader sees stand still on the screen. A server that groups tokens on purpose has longer gaps here at
the same speed, so compare it only between servers that group alike.

Source: AIPerf's inter-chunk latency.
"""


def _waits(sample: Sample) -> Iterator[tuple[float, int]]:
    """Seconds between the responses of a request, and how many tokens came at the end of each wait."""
    before: float | None = None
    for arrival, tokens in zip(sample.arrivals, brought(sample), strict=True):
        if tokens <= 0:
            continue
        if before is not None:
            yield arrival.at_s - before, tokens
        before = arrival.at_s
