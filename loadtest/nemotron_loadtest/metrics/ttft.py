"""Time to first token.

    TTFT = first response with a token - start

The first token of all, a thinking token where the model thinks. Any request that got one counts, whatever became of
it later. None for a user that does not stream: it sees nothing before the end.

Source: MLPerf Inference (LoadGen's first token latency) and AIPerf take the same span.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Latency
from nemotron_loadtest.samples import Sample


def _until(sample: Sample) -> float | None:
    return sample.first_token_s if sample.streams else None


TTFT = Latency(name="ttft_ms", title="Time to first token", unit="ms", better="lower", until=_until)
