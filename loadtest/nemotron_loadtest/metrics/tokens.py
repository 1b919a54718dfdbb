"""How many tokens the requests had: what the workload was, how much of it was thinking, and what the cache held.

Source: AIPerf's input and output sequence length and reasoning token count.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest, Ratio
from nemotron_loadtest.metrics.traffic import Traffic
from nemotron_loadtest.samples import Sample


def _prompt(sample: Sample) -> float | None:
    return sample.prompt_tokens or None


PROMPT_TOKENS = PerRequest(name="prompt_tokens", title="Prompt tokens", unit="tokens", better="neither", of=_prompt)
"""Tokens of the prompt, as the server counted them; None where it did not say."""


def _output(sample: Sample) -> float | None:
    return sample.output_tokens if sample.outcome == "ok" else None


OUTPUT_TOKENS = PerRequest(name="output_tokens", title="Output tokens", unit="tokens", better="neither", of=_output)
"""Tokens of thinking and answer; of whole answers."""


def _reasoning(sample: Sample) -> float | None:
    return sample.reasoning_tokens if sample.outcome == "ok" and sample.thinking else None


REASONING_TOKENS = PerRequest(
    name="reasoning_tokens", title="Thinking tokens", unit="tokens", better="neither", of=_reasoning
)
"""Tokens of the thinking among the output; of whole answers to requests that asked for thinking. None where the server
does not say."""


def _share(sample: Sample) -> float | None:
    reasoning = _reasoning(sample)
    return reasoning / sample.output_tokens if reasoning is not None and sample.output_tokens else None


THINKING_SHARE = PerRequest(name="thinking_share", title="Thinking share", unit="share", better="neither", of=_share)
"""Thinking share.

    share = reasoning tokens / output tokens

Of whole answers to requests that asked for thinking.
"""


def _cached(traffic: Traffic) -> tuple[float, float]:
    told = [
        (sample.cached_tokens, sample.prompt_tokens) for sample in traffic.began if sample.cached_tokens is not None
    ]
    return sum(cached for cached, _ in told), sum(prompt for _, prompt in told)


PREFIX_CACHE_SHARE = Ratio(
    name="prefix_cache_share", title="Prompt tokens from the prefix cache", unit="share", better="higher", of=_cached
)
"""Prefix-cache share.

    share = prompt tokens from the cache / prompt tokens

Added up over the requests whose server said how many came from the cache; None where none did.
"""
