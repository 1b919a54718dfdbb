"""The access log: a line for each request, with ids, counts and timings. Never text, never keys, never a query."""

from __future__ import annotations

import logging

from nemotron_front.exchange import Exchange
from nemotron_front.metrics import outcome_of

ACCESS = logging.getLogger("nemotron_front.access")


def log_request(exchange: Exchange, seconds: float) -> None:
    """Write the line of a request that is over. Its path is the route's: the caller's may hold anything."""
    if not ACCESS.isEnabledFor(logging.INFO):
        return
    # 499, as proxies have it, for callers that left before there was a status.
    parts = [exchange.scope["method"], exchange.endpoint, str(exchange.status or 499), outcome_of(exchange)]
    parts += [f"id={exchange.id}", f"seconds={seconds:.3f}"]
    if exchange.request_id != exchange.id:
        parts.append(f"x-request-id={exchange.request_id}")
    if exchange.mode != "none":
        parts.append(f"mode={exchange.mode}")
    if (usage := exchange.usage) is not None:
        counts = {"prompt": usage.prompt_tokens, "output": usage.output_tokens, "reasoning": usage.reasoning_tokens}
        parts += [f"{name}={count}" for name, count in counts.items()]
    if exchange.replies:
        ttft = min((one.timings.ttft_s for one in exchange.replies if one.timings.ttft_s is not None), default=None)
        parts += [] if ttft is None else [f"ttft={ttft:.3f}"]
        parts.append(f"finish={','.join(sorted({one.finish_reason for one in exchange.replies}))}")
    ACCESS.info(" ".join(parts))
