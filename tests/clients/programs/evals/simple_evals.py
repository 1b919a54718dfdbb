"""nvidia-simple-evals' way to ask: a plain POST to the whole URL."""

from __future__ import annotations

from checking import ANSWER, FRONT_URL, MODEL, QUESTION, THINKING, run_checks
from simple_evals.sampler.chat_completion_sampler import ChatCompletionSampler


async def check_sampler() -> None:
    sampler = ChatCompletionSampler(
        model=MODEL,
        url=f"{FRONT_URL}/v1/chat/completions",
        system_message="detailed thinking on",
        temperature=0.6,
        top_p=0.95,
        timeout=60,
        max_retries=1,
    )
    assert await sampler([{"role": "user", "content": QUESTION}], seed=1) == ANSWER
    assert sampler.last_response_metadata["reasoning_content"] == THINKING
    assert sampler.last_response_metadata["usage"]["completion_tokens"] > 0


run_checks(globals())
