"""Requests for tests, with what matters to the test named and the rest filled in."""

from __future__ import annotations

from collections.abc import Sequence

from nemotron_loadtest.samples import Arrival, Outcome, Sample


def made(
    *arrivals: tuple[float, int],
    intended_s: float = 10.0,
    started_s: float | None = None,
    ended_s: float | None = None,
    first_answer_s: float | None = None,
    thinking: bool = False,
    reasoning_tokens: int = 0,
    output_tokens: int | None = None,
    outcome: Outcome = "ok",
    error_type: str = "",
    user: str = "grpc_stream",
    prompt_tokens: int = 100,
    cached_tokens: int | None = None,
) -> Sample:
    """A request whose responses came at (second, tokens so far)."""
    started_s = intended_s if started_s is None else started_s
    last_s = arrivals[-1][0] if arrivals else started_s
    total = arrivals[-1][1] if arrivals else 0
    return Sample(
        request_id=f"{intended_s:g}",
        user=user,
        thinking=thinking,
        intended_s=intended_s,
        started_s=started_s,
        ended_s=last_s if ended_s is None else ended_s,
        outcome=outcome,
        first_answer_s=first_answer_s,
        arrivals=tuple(Arrival(at_s, tokens) for at_s, tokens in arrivals),
        prompt_tokens=prompt_tokens,
        output_tokens=total if output_tokens is None else output_tokens,
        reasoning_tokens=reasoning_tokens,
        cached_tokens=cached_tokens,
        finish_reason="stop" if outcome == "ok" else "",
        error_type=error_type,
    )


def at_rate(rate_per_s: float, seconds: float, took_s: float = 0.5) -> Sequence[Sample]:
    """Evenly spaced requests of ten tokens, all alike."""
    starts = [number / rate_per_s for number in range(int(rate_per_s * seconds))]
    return [
        made((start + took_s / 2, 1), (start + took_s, 10), intended_s=start, first_answer_s=start + took_s / 2)
        for start in starts
    ]
