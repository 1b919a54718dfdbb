"""What an autoscaler is told for a traffic: `scaling_for`, and `chart_values` for the Helm chart.

    in flight at capacity  = requests at once that a replica had at the highest rate that met the SLO; by Little's law
                             (J. D. C. Little, Operations Research 9(3), 1961) that is L = rate x mean answer time
    mean answer time       = in flight at capacity / rate of a replica
    rate of users          = users / (mean answer time + think time): the interactive response time law (Denning and
                             Buzen, ACM Computing Surveys 10(3), 1978)
    in flight at peak      = peak rate x mean answer time
    target per replica     = in flight at peak / (replicas + 1), rounded down to a tenth

An autoscaler asks for ceil(all in flight / target) replicas, so with this target it has N+1 of them at the peak. In
large fleets that is in flight at capacity / (1 + headroom): with the headroom of 0.3, 0.77 of what a replica takes. The
answer time is that at capacity. With less load answers are faster and fewer are in flight than this counts on; so at
the peak, which N+1 replicas take with some room, an autoscaler may do with one fewer.

Kubernetes leaves the number as it is while all in flight is within a tenth of what was aimed at
(https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/), so a headroom below 0.1 is none.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

Autoscaler = Literal["none", "hpa", "keda"]
WAITING_PER_REPLICA = 1
TOLERANCE = 0.1
_LEAST_REPLICAS = 2  # one more than one


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """What to tell an autoscaler.

    Attributes:
        min_replicas: Fewest; one may be away at any time.
        max_replicas: Most: N+1 at the peak.
        in_flight_at_capacity: Requests at once that a replica had at the highest rate that met the SLO.
        in_flight_per_replica: What to aim at, `nemotron_requests_in_flight` of each replica on average.
        waiting_per_replica: The same of `nemotron_requests_waiting`.
        answer_s: Mean time of an answer at that rate, in seconds.
        least_batch: Requests at once that a package has to be built for (`max_batch_size`), to take as many.
    """

    min_replicas: int
    max_replicas: int
    in_flight_at_capacity: float
    in_flight_per_replica: float
    waiting_per_replica: int
    answer_s: float
    least_batch: int


def answer_time_s(in_flight: float, rate_per_s: float) -> float:
    """Mean time of an answer, by Little's law; see the module."""
    return in_flight / rate_per_s


def rate_of_users(users: int, think_time_s: float, answer_s: float) -> float:
    """Requests per second of users who wait for each answer and then think; see the module."""
    return users / (answer_s + think_time_s)


def scaling_for(*, peak_per_s: float, rate_per_s: float, in_flight: float, with_spare: int) -> Scaling:
    """Work it out.

    Args:
        peak_per_s: Requests per second at the busiest time.
        rate_per_s: What a replica takes of this traffic.
        in_flight: Requests at once that it has then.
        with_spare: Replicas at the peak, N+1.
    """
    answer_s = answer_time_s(in_flight, rate_per_s)
    target = peak_per_s * answer_s / with_spare
    return Scaling(
        min_replicas=min(_LEAST_REPLICAS, with_spare),
        max_replicas=with_spare,
        in_flight_at_capacity=in_flight,
        in_flight_per_replica=max(0.1, math.floor(10 * target) / 10),
        waiting_per_replica=WAITING_PER_REPLICA,
        answer_s=answer_s,
        least_batch=math.ceil(in_flight),
    )


def chart_values(scaling: Scaling, autoscaler: Autoscaler, *, reasons: tuple[str, ...] = ()) -> str:
    """Values for the Helm chart, in YAML.

    Args:
        scaling: What to say.
        autoscaler: Which one; with `none` the number of replicas is fixed at that of the peak.
        reasons: Lines of comment at the top.
    """
    head = "".join(f"# {line}\n" for line in reasons)
    if autoscaler == "none":
        return f"{head}replicas: {scaling.max_replicas}\nautoscaling:\n  kind: none\n"
    return (
        f"{head}autoscaling:\n  kind: {autoscaler}\n"
        f"  minReplicas: {scaling.min_replicas}\n  maxReplicas: {scaling.max_replicas}\n"
        f"  inFlightPerReplica: {scaling.in_flight_per_replica:g}"
        f"  # a replica takes {scaling.in_flight_at_capacity:.3g}\n"
        f"  waitingPerReplica: {scaling.waiting_per_replica}\n"
    )
