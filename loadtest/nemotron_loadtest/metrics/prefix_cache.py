"""Prefix-cache share.

    share = prompt tokens from the cache / prompt tokens

Added up over the requests whose server said how many came from the cache; None where none did.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import Ratio
from nemotron_loadtest.metrics.traffic import Traffic


def _of(traffic: Traffic) -> tuple[float, float]:
    told = [
        (sample.cached_tokens, sample.prompt_tokens) for sample in traffic.began if sample.cached_tokens is not None
    ]
    return sum(cached for cached, _ in told), sum(prompt for _, prompt in told)


PREFIX_CACHE_SHARE = Ratio(
    name="prefix_cache_share", title="Prompt tokens from the prefix cache", unit="share", better="higher", of=_of
)
