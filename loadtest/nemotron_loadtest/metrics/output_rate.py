"""Output tokens per second of the whole system.

    rate = output tokens that came in the window / its length

Every token counts, those of requests that failed or were left as well.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Ratio

OUTPUT_RATE = Ratio(
    name="output_tokens_per_s",
    title="Output tokens per second",
    unit="tokens/s",
    better="higher",
    of=lambda traffic: (traffic.output_tokens, traffic.window.length_s),
)
