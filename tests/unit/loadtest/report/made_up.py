"""Runs that nobody ran: requests of a server with a known speed, drawn with a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from nemotron_loadtest.analysis import BUILT_IN, Capacity, Slo, Trial, judge, summarise
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.report import Facts, Sweep, sweep_point
from nemotron_loadtest.samples import Arrival, Sample
from nemotron_loadtest.server import GpuSample, ServerSample, StageSample

WINDOW = Window(5.0, 65.0)
INTERACTIVE = BUILT_IN["interactive"]
FACTS = Facts(
    title="chat",
    description="Chats of four turns",
    started_at="2026-05-04T10:00:00.000+00:00",
    scenario={"user": "grpc_stream", "arrivals": {"kind": "poisson", "rate": 12.0}, "slo": "interactive"},
    environment={"servers": "grpc://127.0.0.1:8001", "cores": "2"},
)


def requests(
    rate_per_s: float = 12.0,
    *,
    until_s: float = 65.0,
    thinking_share: float = 0.4,
    errors: float = 0.01,
    late_s: float = 0.0,
    seed: int = 1,
) -> list[Sample]:
    """Poisson arrivals; `late_s` is how late the last one was sent."""
    rng = random.Random(seed)
    return list(_requests(rng, rate_per_s, until_s, thinking_share, errors, late_s))


def _requests(
    rng: random.Random, rate_per_s: float, until_s: float, thinking_share: float, errors: float, late_s: float
) -> Iterator[Sample]:
    at_s, number = rng.expovariate(rate_per_s), 0
    while at_s < until_s:
        number += 1
        thinking = rng.random() < thinking_share
        started_s = at_s + late_s * at_s / until_s + rng.random() * 0.002
        yield _request(rng, f"r{number}", at_s, started_s, thinking, failed=rng.random() < errors)
        at_s += rng.expovariate(rate_per_s)


def _request(
    rng: random.Random, name: str, intended_s: float, started_s: float, thinking: bool, *, failed: bool
) -> Sample:
    first_s = started_s + rng.lognormvariate(-2.3, 0.45)
    if failed:
        kind = rng.choice(["ServerUnavailableError", "ServerUnavailableError", "RequestTimeoutError"])
        return Sample(
            request_id=name,
            user="grpc_stream",
            thinking=thinking,
            intended_s=intended_s,
            started_s=started_s,
            ended_s=first_s,
            outcome="error",
            error_type=kind,
        )
    tokens = round(rng.lognormvariate(5.2 if thinking else 3.8, 0.5)) + 2
    token_s = rng.gauss(0.012, 0.0015)
    arrivals = [Arrival(first_s, 1)]
    at_s = first_s
    for done in range(4, tokens + 1, 3):
        at_s += 3 * token_s * rng.uniform(0.8, 1.3)
        arrivals.append(Arrival(at_s, done))
    return Sample(
        request_id=name,
        user="grpc_stream",
        thinking=thinking,
        intended_s=intended_s,
        started_s=started_s,
        first_answer_s=arrivals[len(arrivals) // 2].at_s if thinking else first_s,
        ended_s=at_s,
        outcome="ok",
        arrivals=tuple(arrivals),
        prompt_tokens=rng.randint(100, 400),
        output_tokens=arrivals[-1].output_tokens,
        reasoning_tokens=tokens // 2 if thinking else 0,
        finish_reason="stop",
    )


def server_samples(until_s: float = 70.0, *, gpu: bool = True, gone_from_s: float = 1e9) -> list[ServerSample]:
    """A sample a second."""
    rng = random.Random(7)
    found = []
    for second in range(int(until_s)):
        scraped = second < gone_from_s
        busy = min(1.0, second / 10) * rng.uniform(0.8, 1.0)
        gauges: dict[str, float] = {}
        if scraped:
            gauges = {"in_flight": 20 * busy, "running": 16 * busy, "waiting": 4 * busy, "kv_cache_used": 0.6 * busy}
        gpus = (GpuSample(index=0, busy=busy, memory_bytes=60 << 30, memory_total_bytes=80 << 30, power_w=400.0),)
        found.append(
            ServerSample(
                at_s=second + 0.01,
                server="grpc://127.0.0.1:8001",
                scraped=scraped,
                stages={"preprocessing": StageSample(pending=0, queue_ms=busy * 0.4, compute_ms=1.0)}
                if scraped
                else {},
                cpu_cores=1.7 * busy if scraped else None,
                memory_bytes=3_200_000_000 if scraped else None,
                gpus=gpus if gpu and scraped else (),
                **gauges,
            )
        )
    return found


@cache
def sweep(slo: Slo = INTERACTIVE, *, capacity_per_s: float = 17.0) -> Sweep:
    """Runs at doubled and halved rates; above the capacity the requests are sent later and later."""
    points, trials = [], []
    for number, rate in enumerate((4.0, 8.0, 16.0, 32.0, 24.0, 20.0, 18.0, 17.0, 17.0, 18.0)):
        late_s = max(0.0, rate / capacity_per_s - 1) * 20
        samples = requests(rate, late_s=late_s, errors=0.001, seed=number)
        summary = summarise(samples, WINDOW, slo)
        verdict = judge(summary, slo)
        points.append(sweep_point(rate, summary, verdict))
        trials.append(Trial(rate_per_s=rate, passed=verdict.passed, failures=tuple(verdict.failures)))
    good = max(trial.rate_per_s for trial in trials if trial.passed)
    bad = min(trial.rate_per_s for trial in trials if trial.rate_per_s > good)
    found = Capacity(rate_per_s=good, fails_at_per_s=bad, stable=True, reasons=(), trials=tuple(trials))
    return Sweep(slo=slo.name, capacity=found, points=tuple(points))
