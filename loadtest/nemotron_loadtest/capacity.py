"""How many replicas a traffic needs, from what one replica was measured to take: `plan_capacity(replica, traffic)`.

    output tokens of a request = share on * tokens with thinking on + share off * tokens with thinking off
    rate of a replica          = measured rate * tokens of a request in the measurement / tokens of one in the traffic
    replicas                   = peak rate * (1 + headroom) / rate of a replica, rounded up
    with N+1                   = one more: the traffic is still served while one is away

A replica makes output tokens at a rate of its own, so a request is worth as many requests of another length as it has
output tokens. That leaves prompts out, and is why a sweep with the traffic's own mix is better.

The planner of the build package knows the GPU's memory and bandwidth. Compared with the sweep, its document
(`nemotron-build plan --json`) tells what limits a replica.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.scaling import TOLERANCE, Scaling, answer_time_s, rate_of_users, scaling_for

CAPACITY_SCHEMA_VERSION = 1
DEFAULT_HEADROOM = 0.3
_FULL = 0.9  # Of the places in a batch: their mean over time is never quite all.


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """What one server was measured to take.

    Attributes:
        rate_per_s: Requests per second, the most that still met the SLO.
        slo: Which SLO.
        thinking_share: Share of the requests in the measurement with thinking on, 0 to 1.
        output_tokens_on: Mean output tokens of a request with thinking on; None without such requests.
        output_tokens_off: Mean output tokens of a request with thinking off; None without such requests.
        prompt_tokens: Mean tokens of a prompt.
        in_flight: Mean requests at once.
        output_tokens_per_s: Output tokens per second of all requests together.
        stable: Whether the sweep's runs agree.
        failures: What did not hold at the next higher rate.
    """

    rate_per_s: float
    slo: str
    thinking_share: float
    output_tokens_on: float | None
    output_tokens_off: float | None
    prompt_tokens: float
    in_flight: float
    output_tokens_per_s: float
    stable: bool = True
    failures: tuple[str, ...] = ()

    def output_tokens(self, thinking_share: float) -> float:
        """Mean output tokens of a request in a mix.

        Raises:
            LoadTestError: the mix has a kind of request that was not measured.
        """
        total = 0.0
        for share, tokens, mode in (
            (thinking_share, self.output_tokens_on, "on"),
            (1 - thinking_share, self.output_tokens_off, "off"),
        ):
            if share and tokens is None:
                raise LoadTestError(
                    f"The sweep had no whole answer with thinking {mode}, and {share:.0%} of the traffic have it "
                    f"{mode}: sweep a workload with both."
                )
            total += share * (tokens or 0.0)
        return total


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic to serve.

    Attributes:
        peak_per_s: Requests per second at the busiest time.
        headroom: What to keep free on top of that, as a share: 0.3 serves 1.3 times the peak.
        thinking_share: Share of the requests with thinking on, 0 to 1; None as measured.
        users: Users at the busiest time, whose rate `peak_per_s` is; None where the rate was given.
        think_time_s: Mean seconds between an answer and a user's next question.
    """

    peak_per_s: float
    users: int | None = None
    think_time_s: float | None = None
    headroom: float = DEFAULT_HEADROOM
    thinking_share: float | None = None


class PlannedSpeed(msgspec.Struct, frozen=True):
    """The planner's estimate at a batch: a row of `estimates`."""

    batch: int
    output_tokens_per_s: float
    bound: str


class PlannedLength(msgspec.Struct, frozen=True):
    """How many requests of a length the KV cache holds: a row of `concurrency`."""

    tokens: int
    sequences: int


class BuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of the planner's document; a CPU's has no speeds.

    Attributes:
        profile: Name.
        max_batch_size: Requests at once that the engine is built for.
        concurrency: What the KV cache holds.
        gpu_title: The GPU by its name for people.
        tp_size: GPUs of a replica.
        estimates: Speed at growing batches.
    """

    profile: str
    max_batch_size: int
    concurrency: tuple[PlannedLength, ...]
    gpu_title: str = "CPU"
    tp_size: int = 1
    estimates: tuple[PlannedSpeed, ...] = ()

    def kv_sequences(self, tokens: float) -> float | None:
        """Requests of so many tokens that the KV cache holds: its size in tokens / tokens."""
        pool = max((row.tokens * row.sequences for row in self.concurrency), default=0)
        return pool / tokens if pool and tokens else None

    def near(self, batch: float) -> PlannedSpeed | None:
        """The estimate whose batch is nearest."""
        return min(self.estimates, key=lambda row: abs(math.log(row.batch / max(batch, 1.0))), default=None)


class CapacityPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many replicas.

    Attributes:
        demand: What was asked.
        replica: What it was worked out from.
        thinking_share: Share of the traffic with thinking on, 0 to 1.
        replica_per_s: Rate of a replica with the traffic's mix.
        replicas: Needed.
        with_spare: N+1.
        load_at_peak: Share of the rate of `with_spare` replicas that the peak takes.
        load_with_one_away: Share of the rate of the others that the peak takes while one is away.
        arithmetic: Line by line.
        limit: What limits a replica, in a sentence.
        warnings: What makes the figures doubtful; sentences.
        gpus: GPUs in all, spare included; None without a plan of a GPU.
        scaling: What to tell an autoscaler; None in a plan of a version that did not say it.
        schema_version: Version of this structure.
    """

    demand: Demand
    replica: Replica
    thinking_share: float
    replica_per_s: float
    replicas: int
    with_spare: int
    load_at_peak: float
    load_with_one_away: float
    arithmetic: tuple[str, ...]
    limit: str
    warnings: tuple[str, ...]
    gpus: int | None
    scaling: Scaling | None = None
    schema_version: int = CAPACITY_SCHEMA_VERSION


def plan_capacity(replica: Replica, demand: Demand, plan: BuildPlan | None = None) -> CapacityPlan:
    """Work out the replicas for a traffic.

    Args:
        replica: What a sweep has measured: `Sweep.replica()`.
        demand: The traffic.
        plan: The build plan of the machine that the sweep ran on.

    Raises:
        LoadTestError: the traffic is none, or has requests that were not measured.
    """
    share = replica.thinking_share if demand.thinking_share is None else demand.thinking_share
    if not (demand.peak_per_s > 0 and demand.headroom >= 0 and 0 <= share <= 1):
        raise LoadTestError(
            f"A traffic has a peak above 0 requests/s, a headroom from 0 and a thinking share from 0 to 1; given are "
            f"{demand.peak_per_s:g}, {demand.headroom:g} and {share:g}."
        )
    measured_tokens, tokens = replica.output_tokens(replica.thinking_share), replica.output_tokens(share)
    rate = _rate(replica, share)
    wanted = demand.peak_per_s * (1 + demand.headroom)
    # Less a hair: 1.1 * 10 is a little more than 11 in binary.
    replicas = max(1, math.ceil(wanted / rate * (1 - 1e-9)))
    scaling = scaling_for(
        peak_per_s=demand.peak_per_s, rate_per_s=rate, in_flight=replica.in_flight, with_spare=replicas + 1
    )
    return CapacityPlan(
        demand=demand,
        replica=replica,
        thinking_share=share,
        replica_per_s=rate,
        replicas=replicas,
        with_spare=replicas + 1,
        load_at_peak=demand.peak_per_s / (rate * (replicas + 1)),
        load_with_one_away=demand.peak_per_s / (rate * replicas),
        arithmetic=(
            *_mix(replica, share, measured_tokens, tokens, rate),
            *_users(demand, replica, rate),
            f"to serve: {demand.peak_per_s:g}/s at peak x (1 + {demand.headroom:g} headroom) = {wanted:.4g}/s",
            f"replicas: {wanted:.4g}/s / {rate:.4g}/s = {wanted / rate:.2f}, rounded up {replicas}",
            f"N+1: {replicas} + 1 = {replicas + 1}",
            f"in flight at peak: {demand.peak_per_s:.4g}/s x {scaling.answer_s:.3g} s for an answer = "
            f"{demand.peak_per_s * scaling.answer_s:.4g}",
            f"of each replica: {demand.peak_per_s * scaling.answer_s:.4g} / {replicas + 1} = "
            f"{scaling.in_flight_per_replica:g}, rounded down",
        ),
        limit=_limit(replica, plan),
        warnings=tuple(_warnings(replica, demand, share, plan)),
        gpus=(replicas + 1) * plan.tp_size if plan and plan.estimates else None,
        scaling=scaling,
    )


def demand_of_users(
    replica: Replica, users: int, think_time_s: float, headroom: float, thinking_share: float | None
) -> Demand:
    """The traffic of so many users, who wait for each answer and think for so many seconds before they ask again.

    Raises:
        LoadTestError: it has requests that were not measured.
    """
    share = replica.thinking_share if thinking_share is None else thinking_share
    peak = rate_of_users(users, think_time_s, answer_time_s(replica.in_flight, _rate(replica, share)))
    return Demand(
        peak_per_s=peak, users=users, think_time_s=think_time_s, headroom=headroom, thinking_share=thinking_share
    )


def load_plan(path: Path) -> BuildPlan:
    """Read the output of `nemotron-build plan --json`.

    Raises:
        LoadTestError: no such file, or another document.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=BuildPlan)
    except OSError as error:
        raise LoadTestError(f"{path}: {error.strerror}, expected the output of 'nemotron-build plan --json'.") from None
    except msgspec.DecodeError as error:
        raise LoadTestError(f"{path}: {error}, expected the output of 'nemotron-build plan --json'.") from None


def _rate(replica: Replica, share: float) -> float:
    """Requests per second that a replica takes of this mix."""
    tokens = replica.output_tokens(share)
    return replica.rate_per_s * (replica.output_tokens(replica.thinking_share) / tokens if tokens else 1.0)


def _users(demand: Demand, replica: Replica, rate: float) -> list[str]:
    if demand.users is None or demand.think_time_s is None:
        return []
    answer_s = answer_time_s(replica.in_flight, rate)
    return [
        f"users: {demand.users:,} / ({answer_s:.3g} s for an answer + {demand.think_time_s:g} s to think) = "
        f"{demand.peak_per_s:.4g}/s at peak"
    ]


def _mix(replica: Replica, share: float, measured: float, tokens: float, rate: float) -> list[str]:
    if share == replica.thinking_share or not tokens:
        return [f"a replica: {replica.rate_per_s:.4g}/s, as measured with {share:.0%} thinking"]
    return [
        f"output tokens of a request: {measured:.4g} as measured ({replica.thinking_share:.0%} thinking), "
        f"{tokens:.4g} with {share:.0%} thinking",
        f"a replica: {replica.rate_per_s:.4g}/s x {measured:.4g} / {tokens:.4g} = {rate:.4g}/s",
    ]


def _limit(replica: Replica, plan: BuildPlan | None) -> str:
    slo = f"the SLO {replica.slo}" + (f" ({replica.failures[0]} at the next higher rate)" if replica.failures else "")
    at_once = f"{replica.in_flight:.3g} requests at once"
    if plan is None:
        return f"At {at_once}, {slo} sets the limit."
    tokens = replica.prompt_tokens + replica.output_tokens(replica.thinking_share)
    held = plan.kv_sequences(tokens)
    if held is not None and held <= plan.max_batch_size and replica.in_flight >= _FULL * held:
        return (
            f"The KV cache sets the limit: it holds {held:.3g} requests of {tokens:.0f} tokens, and {at_once} were "
            "under way. More memory or shorter requests help."
        )
    if replica.in_flight >= _FULL * plan.max_batch_size:
        return (
            f"The batch sets the limit: the engine is built for {plan.max_batch_size} requests, and {at_once} were "
            "under way. A larger --max-batch-size helps where the SLO allows it."
        )
    near = plan.near(replica.in_flight)
    bound = f"; there the planner has {near.bound} as the bound of a step" if near else ""
    return f"At {at_once}, {slo} sets the limit, before the batch of {plan.max_batch_size} is full{bound}."


def _warnings(replica: Replica, demand: Demand, share: float, plan: BuildPlan | None) -> list[str]:
    warnings = []
    if not replica.stable:
        warnings.append("The sweep's result is not stable: repeat it with longer runs before you buy by it.")
    if demand.headroom < TOLERANCE:
        warnings.append(
            f"A headroom of {demand.headroom:g} is none for Kubernetes, which adds no replica before there is "
            f"{TOLERANCE:.0%} more in flight than aimed at: take at least {TOLERANCE:g}."
        )
    if abs(share - replica.thinking_share) > 0.1:
        warnings.append(
            f"Measured with {replica.thinking_share:.0%} thinking, planned for {share:.0%}: the rate is scaled by "
            "output tokens. A sweep with the traffic's own mix is better."
        )
    near = plan.near(replica.in_flight) if plan else None
    if plan and near and not 0.5 <= replica.output_tokens_per_s / near.output_tokens_per_s <= 2:
        warnings.append(
            f"Measured are {replica.output_tokens_per_s:,.0f} output tokens/s, and the planner expects "
            f"{near.output_tokens_per_s:,.0f} of {plan.gpu_title} at batch {near.batch}: was the sweep on this machine?"
        )
    return warnings
