"""Inter-token latency, the mean of a request.

    ITL = (last response with a token - first response with a token) / tokens that came after the first response

A server may put several tokens into a response. Dividing by the tokens after the first response, and not by all but
one, keeps a first response of several tokens from making the rest look fast. The mean of a request is right however
the server groups its tokens; how even the flow was is what the gaps say (`token_gap_ms`, `response_gap_ms`).
None where all tokens came in one response.

Source: AIPerf's inter-token latency, (latency - TTFT) / (output tokens - 1), which this equals where the first
response holds one token and the stream ends with the last.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> float | None:
    if not sample.arrivals:
        return None
    first, last = sample.arrivals[0], sample.arrivals[-1]
    tokens = last.output_tokens - first.output_tokens
    return (last.at_s - first.at_s) * 1e3 / tokens if tokens > 0 else None


ITL = PerRequest(name="itl_ms", title="Inter-token latency, mean of a request", unit="ms", better="lower", of=_of)
