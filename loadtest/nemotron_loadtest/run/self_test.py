"""What the load generator itself can take on this machine: `self_test()`.

The server's script is known, so whatever is later than it says is the load generator's, the server's own and the
machine's. The number of streams is doubled as long as tokens come at nine tenths of the script's speed or more.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nemotron_loadtest.run.runner import run_scenario

# isort: split
import numpy as np

from nemotron_loadtest.analysis import Distribution, describe
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import ITL, SCHEDULE_DELAY, TTFT, Traffic, Window
from nemotron_loadtest.run import self_server
from nemotron_loadtest.samples import Sample
from nemotron_loadtest.scenario import Arrivals, ClosedLoop, Poisson, Scenario, Synthetic

FIRST = 50
_SPEED = 0.9
_RAMP_S = 1.0
_PATIENCE_S = 1.0  # for the first token, which is due after 0.05 s


@dataclass(frozen=True)
class Step:
    """So many streams at once.

    Attributes:
        streams: How many.
        tokens_per_s: Tokens per second of all streams.
        responses_per_s: Responses per second of all streams.
        speed: Tokens per second of one stream, as a share of the script's.
    """

    streams: int
    tokens_per_s: float
    responses_per_s: float
    speed: float

    @property
    def kept_up(self) -> bool:
        """Whether the tokens came as the script says."""
        return self.speed >= _SPEED

    def __str__(self) -> str:
        return (
            f"{self.streams:5} streams: {self.tokens_per_s:7,.0f} tokens/s in {self.responses_per_s:,.0f} responses/s, "
            f"{self.speed:.0%} of the script's speed"
        )


@dataclass(frozen=True)
class SelfTest:
    """What was found.

    Attributes:
        best: The most streams that were kept up with; the first step where none were.
        most_tokens_per_s: With however many streams.
        rate_per_s: Requests per second of the open loop at half of that.
        delay_ms: By how much its requests were sent late.
        ttft_lag_ms: By how much the first token was later than the script says.
    """

    best: Step
    most_tokens_per_s: float
    rate_per_s: float
    delay_ms: Distribution
    ttft_lag_ms: Distribution

    def __str__(self) -> str:
        kept = "keeps up with" if self.best.kept_up else "does not keep up with"
        return (
            f"The load generator {kept} {self.best.streams} streams and {self.best.tokens_per_s:,.0f} tokens/s. "
            f"The most it has seen are {self.most_tokens_per_s:,.0f} tokens/s.\n"
            f"At half of that ({self.rate_per_s:.3g} requests/s, open loop) requests are sent "
            f"{_tail(self.delay_ms)} late, and first tokens are seen {self.ttft_lag_ms.p50:.1f} ms (p50), "
            f"{_tail(self.ttft_lag_ms)} after they are due."
        )


def self_test(most: int, seconds: float, report: Callable[[str], None]) -> SelfTest:
    """Measure.

    Args:
        most: Streams to go up to.
        seconds: For each step.
        report: Is told each step.

    Raises:
        LoadTestError: the server does not start, or answers with errors.
    """
    with _server() as url:
        steps = list(_steps(url, most, seconds, report))
        best = max((step for step in steps if step.kept_up), key=lambda step: step.streams, default=steps[0])
        rate = best.tokens_per_s / self_server.TOKENS / 2
        samples = _run(url, Poisson(rate=rate), seconds)
    return SelfTest(
        best=best,
        most_tokens_per_s=max(step.tokens_per_s for step in steps),
        rate_per_s=rate,
        delay_ms=describe(SCHEDULE_DELAY.values(samples)),
        ttft_lag_ms=describe(TTFT.values(samples, "actual") - 1e3 * self_server.TTFT_S),
    )


def _steps(url: str, most: int, seconds: float, report: Callable[[str], None]) -> Iterator[Step]:
    """Double the streams until they are too many, and look once more in the middle of the last two."""
    good, streams = 0, min(FIRST, most)
    while True:
        step = _step(url, streams, seconds)
        report(str(step))
        yield step
        if step.kept_up and streams < most:
            good, streams = streams, min(2 * streams, most)
        else:
            break
    if good and not step.kept_up:
        between = _step(url, (good + streams) // 2, seconds)
        report(str(between))
        yield between


def _step(url: str, streams: int, seconds: float) -> Step:
    samples = _run(url, ClosedLoop(users=streams, ramp_up_s=_RAMP_S), seconds)
    tokens = Traffic(samples, Window(_RAMP_S + 1.0, _RAMP_S + 1.0 + seconds)).output_tokens
    speed = 1e3 * self_server.TOKEN_S / float(np.median(ITL.values(samples)))
    return Step(streams, tokens / seconds, tokens / seconds / self_server.SHARED, speed)


def _run(url: str, arrivals: Arrivals, seconds: float) -> list[Sample]:
    duration = _RAMP_S + 1.0 + seconds
    workload = Synthetic(input_tokens=16, output_tokens=self_server.TOKENS)
    scenario = Scenario(
        url=url, duration_s=duration, warmup_s=_RAMP_S, drain_s=0.0, arrivals=arrivals, workload=workload
    )
    result = run_scenario(scenario)
    if result.record.ended_by == "interrupt":
        raise KeyboardInterrupt
    sound = [sample for sample in result.samples if _is_sound(sample)]
    answered = sum(len(sample.arrivals) > 1 for sample in sound)
    if answered < 2 or len(sound) < 0.99 * len(result.samples):
        raise LoadTestError(
            f"{len(result.samples) - len(sound)} of {len(result.samples)} requests of the self-test failed or waited "
            f"more than {_PATIENCE_S:g} s for a token, and {answered} got tokens"
        )
    return sound


def _is_sound(sample: Sample) -> bool:
    """Whether a request went well. One that the end of the run cuts did until then, unless it waited for tokens."""
    if sample.outcome == "incomplete":
        return bool(sample.arrivals) or sample.ended_s - sample.started_s < _PATIENCE_S
    return sample.outcome == "ok"


def _tail(found: Distribution) -> str:
    return f"{found.max:.1f} ms (at most)" if found.p99 is None else f"{found.p99:.1f} ms (p99)"


@contextlib.contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", self_server.__name__]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - pipes
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise LoadTestError("The self-test's server does not start: see above")
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
