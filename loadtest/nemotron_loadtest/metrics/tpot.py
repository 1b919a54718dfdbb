"""Time per output token, after the first.

    TPOT = (end of the stream - first response with a token) / (output tokens - 1)

MLPerf's figure, which the built-in SLO classes limit. It differs from the ITL by what comes after the last token, the
end of the stream. Of whole answers with two tokens or more. A user that does not stream has no first token to count
from: None.

Source: MLPerf Inference, LoadGen's time per output token.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest
from nemotron_loadtest.samples import Sample


def _of(sample: Sample) -> float | None:
    first_token_s = sample.first_token_s
    if sample.outcome != "ok" or not sample.streams or first_token_s is None or sample.output_tokens < 2:
        return None
    return (sample.ended_s - first_token_s) * 1e3 / (sample.output_tokens - 1)


TPOT = PerRequest(name="tpot_ms", title="Time per output token", unit="ms", better="lower", of=_of)
