"""What an autoscaler is told, against a truth: replicas with a known service time, played event by event."""

from __future__ import annotations

import heapq
import math
import random
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from nemotron_loadtest.analysis import find_capacity
from nemotron_loadtest.analysis.verdict import Verdict
from nemotron_loadtest.capacity import Demand, Replica, demand_of_users, plan_capacity
from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.scaling import Scaling, answer_time_s, chart_values, rate_of_users, scaling_for

PLACES, SERVICE_S, MOST_WAIT_S = 16, 2.0, 1.0
TRUE_RATE = PLACES / SERVICE_S  # 8 requests a second, if its places were never empty
REQUESTS = 6000


def played(replicas: int, rate_per_s: float, seed: int = 1) -> tuple[float, float]:
    """Poisson arrivals, each to the replica with the fewest requests: p99 of the wait in s, mean requests at once."""
    chance = random.Random(seed)
    ends: list[list[float]] = [[] for _ in range(replicas)]  # of the requests that each replica has, waiting ones too
    free = [[0.0] * PLACES for _ in range(replicas)]  # when each place is free
    now, waits, busy_s = 0.0, [], 0.0
    for _ in range(REQUESTS):
        now += chance.expovariate(rate_per_s)
        for one in ends:
            while one and one[0] <= now:
                heapq.heappop(one)
        chosen = min(range(replicas), key=lambda number: (len(ends[number]), chance.random()))
        begin = max(now, heapq.heappop(free[chosen]))
        heapq.heappush(free[chosen], begin + SERVICE_S)
        heapq.heappush(ends[chosen], begin + SERVICE_S)
        waits.append(begin - now)
        busy_s += begin + SERVICE_S - now
    return sorted(waits)[math.ceil(0.99 * len(waits)) - 1], busy_s / now


def met(replicas: int, rate_per_s: float, seed: int = 1) -> bool:
    return played(replicas, rate_per_s, seed)[0] <= MOST_WAIT_S


@pytest.fixture(scope="module")
def replica() -> Replica:
    """One, as a sweep finds it."""

    def judged(rate: float) -> Verdict:
        return Verdict(slo="wait", passed=met(1, rate), clauses=())

    found = find_capacity(judged, 1.0, 64.0, tolerance=0.03, repeats=1, max_runs=40)
    assert found.rate_per_s is not None
    return Replica(
        rate_per_s=found.rate_per_s,
        slo="wait",
        thinking_share=0.0,
        output_tokens_on=None,
        output_tokens_off=100.0,
        prompt_tokens=10.0,
        in_flight=played(1, found.rate_per_s)[1],
        output_tokens_per_s=100 * found.rate_per_s,
    )


def scaling_of(replica: Replica, peak: float) -> Scaling:
    scaling = plan_capacity(replica, Demand(peak_per_s=peak)).scaling
    assert scaling is not None
    return scaling


def test_what_is_found_of_one_replica_is_the_truth(replica: Replica) -> None:
    assert 0.6 * TRUE_RATE <= replica.rate_per_s <= TRUE_RATE
    answer_s = answer_time_s(replica.in_flight, replica.rate_per_s)
    assert SERVICE_S <= answer_s <= SERVICE_S + MOST_WAIT_S


@pytest.mark.parametrize("peak", [3.0, 20.0, 100.0])
def test_the_planned_replicas_hold_the_slo_with_one_away_and_half_of_them_do_not(replica: Replica, peak: float) -> None:
    plan = plan_capacity(replica, Demand(peak_per_s=peak))
    assert met(plan.with_spare, peak)
    assert met(plan.replicas, peak)
    if plan.replicas > 2:
        assert not met(plan.replicas // 2, peak)


@pytest.mark.parametrize("peak", [3.0, 20.0, 100.0])
def test_an_autoscaler_with_the_target_has_enough_replicas_at_the_peak(replica: Replica, peak: float) -> None:
    """What is in flight is played, and not what the plan thinks: the number must come out within one, and hold."""
    scaling = scaling_of(replica, peak)
    wanted = math.ceil(played(scaling.max_replicas, peak)[1] / scaling.in_flight_per_replica)
    assert scaling.max_replicas - 1 <= wanted <= scaling.max_replicas + 1
    assert met(min(wanted, scaling.max_replicas), peak)


def test_the_target_is_below_what_a_replica_takes_by_the_headroom_in_a_large_fleet(replica: Replica) -> None:
    scaling = scaling_of(replica, 5000.0)
    assert scaling.in_flight_per_replica == pytest.approx(replica.in_flight / 1.3, rel=0.01)
    assert scaling.least_batch == math.ceil(replica.in_flight) <= PLACES


@pytest.mark.parametrize("users", [50, 400])
def test_users_that_wait_and_think_make_the_rate_that_they_are_said_to(users: int) -> None:
    """A closed loop, played: each user waits for the answer, then thinks."""
    chance, think_s, answer_s, until = random.Random(2), 10.0, SERVICE_S, 2000.0
    asked = 0
    for _ in range(users):
        now = chance.uniform(0, think_s)
        while now < until:
            asked += 1
            now += answer_s + chance.expovariate(1 / think_s)
    assert asked / until == pytest.approx(rate_of_users(users, think_s, answer_s), rel=0.03)


def test_a_plan_for_users_shows_how_their_rate_comes_about(replica: Replica) -> None:
    demand = demand_of_users(replica, 600, 28.0, 0.3, None)
    answer_s = replica.in_flight / replica.rate_per_s
    assert demand.peak_per_s == pytest.approx(600 / (answer_s + 28))
    assert any(line.startswith("users: 600 / (") for line in plan_capacity(replica, demand).arithmetic)


def test_longer_answers_take_as_many_places_at_a_lower_rate(replica: Replica) -> None:
    """With four times the output tokens a replica takes a quarter of the rate, and has as many in flight."""
    mixed = msgspec.structs.replace(replica, output_tokens_on=400.0)
    short, long = (
        plan_capacity(mixed, Demand(peak_per_s=peak, thinking_share=share)).scaling
        for peak, share in ((40.0, 0.0), (10.0, 1.0))
    )
    assert short is not None and long is not None
    assert long.in_flight_per_replica == pytest.approx(short.in_flight_per_replica, abs=0.1)
    assert long.answer_s == pytest.approx(4 * short.answer_s)


def test_a_headroom_that_kubernetes_does_not_see_is_said(replica: Replica) -> None:
    assert any(
        "take at least 0.1" in one for one in plan_capacity(replica, Demand(peak_per_s=9, headroom=0.05)).warnings
    )


@pytest.mark.parametrize("autoscaler", ["hpa", "keda", "none"])
def test_values_for_the_chart(autoscaler: Any) -> None:
    scaling = scaling_for(peak_per_s=60.0, rate_per_s=10.0, in_flight=40.0, with_spare=9)
    values = yaml.safe_load(chart_values(scaling, autoscaler, reasons=("why: this",)))
    if autoscaler == "none":
        assert values == {"replicas": 9, "autoscaling": {"kind": "none"}}
        return
    assert values == {
        "autoscaling": {
            "kind": autoscaler,
            "minReplicas": 2,
            "maxReplicas": 9,
            "inFlightPerReplica": 26.6,
            "waitingPerReplica": 1,
        }
    }


def test_a_traffic_of_nothing_is_refused(replica: Replica) -> None:
    with pytest.raises(LoadTestError, match="A traffic has a peak above 0"):
        plan_capacity(replica, Demand(peak_per_s=0.0))
