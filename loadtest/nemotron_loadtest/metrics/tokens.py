"""How many tokens the requests had: what the workload was, and how much of it was thinking.

    prompt tokens      as the server counted them; None where it did not say
    output tokens      thinking and answer; of whole answers
    reasoning tokens   the thinking among them; of whole answers to requests that asked for thinking
    thinking share     reasoning tokens / output tokens; of the same

Source: AIPerf's input and output sequence length and reasoning token count.
"""

from __future__ import annotations

from nemotron_loadtest.metrics.kinds import PerRequest
from nemotron_loadtest.samples import Sample


def _prompt(sample: Sample) -> float | None:
    return sample.prompt_tokens or None


def _output(sample: Sample) -> float | None:
    return sample.output_tokens if sample.outcome == "ok" else None


def _reasoning(sample: Sample) -> float | None:
    return sample.reasoning_tokens if sample.outcome == "ok" and sample.thinking else None


def _share(sample: Sample) -> float | None:
    reasoning = _reasoning(sample)
    return reasoning / sample.output_tokens if reasoning is not None and sample.output_tokens else None


PROMPT_TOKENS = PerRequest(name="prompt_tokens", title="Prompt tokens", unit="tokens", better="neither", of=_prompt)
OUTPUT_TOKENS = PerRequest(name="output_tokens", title="Output tokens", unit="tokens", better="neither", of=_output)
REASONING_TOKENS = PerRequest(
    name="reasoning_tokens", title="Thinking tokens", unit="tokens", better="neither", of=_reasoning
)
THINKING_SHARE = PerRequest(name="thinking_share", title="Thinking share", unit="share", better="neither", of=_share)
