"""The chart's autoscaling, replayed on recorded load: in time, without flapping, one at a time on the way down.

What is replayed was recorded from a real server under ramps of nemotron-bench (ramps/record.py), and the target is what
`nemotron-bench capacity` works out; the chart made the HorizontalPodAutoscaler of it.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from nemotron_loadtest.scaling import chart_values, scaling_for
from tests.deploy.autoscaler import Autoscaler, Recording, Replay, arrivals_of, backlog, replay
from tests.deploy.releases import render

PLACES, START_S = 8, 30
PEAK_PER_S, RATE_PER_S, IN_FLIGHT = 8.0, 1.8, 7.2  # a replica with 8 places of 4 s, at 0.9 of what they can
WITH_SPARE = 7  # 8/s with a headroom of 0.3 are 10.4/s, 6 replicas
SCALING = scaling_for(peak_per_s=PEAK_PER_S, rate_per_s=RATE_PER_S, in_flight=IN_FLIGHT, with_spare=WITH_SPARE)
LEAST, MOST = SCALING.min_replicas, 12
IN_TIME_S = 120
# Each with a steady load behind it, of the rate that it ends with.
LOADS = {
    "rise": Recording.named("rise").then(1500, 32.0),
    "spike": Recording.named("spike").then(2400, 8.0),
    "day": Recording.named("day").then(1800, 4.0),
}
# The second from which on a load needs so many replicas: rate x 4 s / 8 places, of what was sent.
NEEDS = {
    "rise": {2: 26, 3: 43, 4: 60},
    "spike": {6: 60},
    "day": {2: 60, 4: 120},
}


@cache
def specification() -> dict[str, Any]:
    """Of the HorizontalPodAutoscaler that the chart makes of the values that `nemotron-bench capacity` writes."""
    values = yaml.safe_load(chart_values(SCALING, "hpa"))
    values["autoscaling"]["maxReplicas"] = MOST
    release = render({**values, "package": {"source": "simulated"}, "gpu": {"count": 0}})
    spec: dict[str, Any] = release.one("HorizontalPodAutoscaler")["spec"]
    return spec


def behavior(calm_s: int | None = None) -> dict[str, Any]:
    """The chart's, or with another time of calm."""
    found: dict[str, Any] = specification()["behavior"]
    if calm_s is None:
        return found
    return {**found, "scaleDown": {**found["scaleDown"], "stabilizationWindowSeconds": calm_s}}


def calm_seconds() -> int:
    """Of calm, until one goes."""
    return int(behavior()["scaleDown"]["stabilizationWindowSeconds"])


def drain_seconds() -> int:
    """Between two that go."""
    (policy,) = behavior()["scaleDown"]["policies"]
    return int(policy["periodSeconds"])


def targets() -> dict[str, float]:
    """By metric."""
    pods = [metric["pods"] for metric in specification()["metrics"]]
    return {one["metric"]["name"]: float(one["target"]["averageValue"]) for one in pods}


def played(load: str, *, target: float | None = None, calm_s: int | None = None, most: int = MOST) -> Replay:
    aims = targets() if target is None else {**targets(), "nemotron_requests_in_flight": target}
    autoscaler = Autoscaler(aims, behavior(calm_s), LEAST, most, LEAST)
    return replay(LOADS[load], autoscaler, places=PLACES, start_s=START_S)


def late_by(load: str, replicas: int, found: Replay) -> int:
    """Seconds from when a load needs so many until they carry it."""
    needed = NEEDS[load][replicas]
    return (
        next((second for second in range(needed, len(found.ready)) if found.ready[second] >= replicas), 10**6) - needed
    )


def turns(found: Replay) -> list[int]:
    """Seconds between a change and the next one in the other direction."""
    changes = found.changes()
    return [after - before for (before, by), (after, then) in pairwise(changes) if by * then < 0]


def mean_wait_s(load: str, found: Replay) -> float:
    """By Little's law, of the requests of the recording."""
    requests = arrivals_of(Recording.named(load))
    return sum(found.waiting[: len(requests)]) / sum(requests)


def test_the_model_of_the_load_is_what_a_full_server_was_seen_to_do() -> None:
    """The same requests on a server with 8 places: the model is made of the recording of the one where none waited."""
    full, arrivals = Recording.named("rise-full"), arrivals_of(Recording.named("rise"))
    modelled = backlog(arrivals, [full.places] * len(arrivals), full.service_s)
    assert full.places == PLACES
    for second in range(60, min(len(modelled), len(full.in_flight)) - 1):
        assert modelled[second] == pytest.approx(full.in_flight[second + 1], rel=0.2, abs=10), second
        assert full.waiting[second + 1] == pytest.approx(max(0, full.in_flight[second + 1] - PLACES), abs=10)


def test_what_is_replayed_is_what_the_plan_says() -> None:
    assert targets() == {"nemotron_requests_in_flight": SCALING.in_flight_per_replica, "nemotron_requests_waiting": 1.0}
    assert (specification()["minReplicas"], specification()["maxReplicas"]) == (LEAST, MOST)
    assert drain_seconds() > 100 and calm_seconds() == 300


@pytest.mark.parametrize(("load", "replicas"), [(load, count) for load, counts in NEEDS.items() for count in counts])
def test_replicas_carry_the_load_two_minutes_after_it_needs_them_at_the_latest(load: str, replicas: int) -> None:
    assert late_by(load, replicas, played(load)) <= IN_TIME_S


@pytest.mark.parametrize("load", LOADS)
def test_the_number_does_not_flap(load: str) -> None:
    found = played(load)
    assert all(seconds >= calm_seconds() for seconds in turns(found))
    last, _ = found.changes()[-1]
    assert last < len(found.asked) - 300, "at a steady load nothing changes"


@pytest.mark.parametrize("load", LOADS)
def test_replicas_go_one_at_a_time_and_each_has_the_time_of_a_drain(load: str) -> None:
    down = [(second, by) for second, by in played(load).changes() if by < 0]
    assert down
    assert {by for _, by in down} == {-1}
    assert all(after - before >= drain_seconds() for (before, _), (after, _) in pairwise(down))


@pytest.mark.parametrize(("load", "most"), [("rise", MOST), ("spike", 5), ("day", MOST)])
def test_the_number_stays_within_its_limits(load: str, most: int) -> None:
    asked = played(load, most=most).asked
    assert LEAST <= min(asked) <= max(asked) <= most
    if most < MOST:
        assert max(asked) == most


def test_a_load_that_has_gone_leaves_the_fewest() -> None:
    assert played("day").asked[-1] == LEAST


@pytest.mark.parametrize("load", LOADS)
def test_without_a_time_of_calm_it_flaps(load: str) -> None:
    assert min(turns(played(load, calm_s=0))) < calm_seconds()


def test_with_all_that_a_replica_takes_as_the_target_it_is_late() -> None:
    """Nothing is added before requests wait: they do so for several times as long."""
    good, late = (mean_wait_s("rise", played("rise", target=one)) for one in (None, float(PLACES)))
    assert good < 1.5
    assert late > 4 * good


def scaler(replicas: int, calm_s: int | None = None) -> Autoscaler:
    return Autoscaler({"a": 10.0, "b": 1.0}, behavior(calm_s), 1, 100, replicas)


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({"a": [10.9] * 4, "b": [0.0] * 4}, 4),  # within a tenth
        ({"a": [11.1] * 4, "b": [0.0] * 4}, 5),
        ({"a": [5.0] * 4, "b": [1.3] * 4}, 6),  # the largest of two metrics
        ({"a": [40.0] * 4, "b": [0.0] * 4}, 8),  # twice as many at once at most
        ({"a": [20.0] * 2, "b": [0.0] * 2}, 4),  # two start yet: they count as nothing
        ({"a": [25.0] * 2, "b": [0.0] * 2}, 5),
        ({"a": [2.0] * 4, "b": [0.0] * 4}, 3),  # one at a time
        ({"a": [2.0] * 2, "b": [0.0] * 2}, 3),  # two start yet, and count as full: to 2.4
    ],
)
def test_the_formula(metrics: dict[str, list[float]], wanted: int) -> None:
    assert scaler(4, calm_s=0).sync(0.0, metrics) == wanted


def test_it_goes_down_after_so_many_seconds_of_calm() -> None:
    one, busy, calm = scaler(4), {"a": [10.0] * 4, "b": [0.0] * 4}, {"a": [1.0] * 4, "b": [0.0] * 4}
    assert one.sync(0.0, busy) == 4
    asked = {second: one.sync(float(second), calm) for second in range(15, calm_seconds() + 31, 15)}
    assert next(second for second, count in asked.items() if count < 4) == calm_seconds()
