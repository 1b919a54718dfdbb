from __future__ import annotations

import pytest

from nemotron_serving.generation.leaving import EarlyStops, RequestName


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stops(clock: Clock) -> EarlyStops:
    return EarlyStops(clock, most=100, most_of_a_caller=10)


def named(request_id: object, caller: str = "") -> RequestName:
    return RequestName(caller, str(request_id))


def test_a_stop_meets_the_next_request_once(stops: EarlyStops) -> None:
    assert not stops.take(named("id"))
    assert stops.add(named("id"))
    assert not stops.take(named("other"))
    assert not stops.take(named("id", "somebody"))
    assert stops.take(named("id"))
    assert not stops.take(named("id"))


@pytest.mark.parametrize(("wait_s", "met"), [(4.9, True), (5.1, False)])
def test_a_stop_is_remembered_for_five_seconds_after_it_came_last(
    stops: EarlyStops, clock: Clock, wait_s: float, met: bool
) -> None:
    stops.add(named("id"))
    clock.now += 3
    stops.add(named("another"))
    stops.add(named("id"))
    clock.now += wait_s
    assert stops.take(named("id")) is met


def test_a_stop_without_an_id_is_not_remembered(stops: EarlyStops) -> None:
    assert stops.add(named(""))
    assert not stops.take(named(""))


def test_a_stop_after_the_end_is_late_until_the_id_is_used_again(stops: EarlyStops, clock: Clock) -> None:
    stops.finished(named("id"))
    clock.now += 29
    stops.add(named("id"))
    assert not stops.take(named("id"))
    stops.add(named("id"))
    assert stops.take(named("id"))


def test_the_end_of_a_request_is_forgotten_in_the_end(stops: EarlyStops, clock: Clock) -> None:
    stops.finished(named("id"))
    clock.now += 31
    stops.add(named("id"))
    assert stops.take(named("id"))


def test_a_flood_of_stops_makes_nobody_elses_forgotten(stops: EarlyStops, clock: Clock) -> None:
    stops.add(named("first"))
    clock.now += 1
    refused = [not stops.add(named(number)) for number in range(500)]
    assert refused[-1] and not refused[0]
    assert stops.take(named("first"))
    assert stops.take(named(0))
    # A stop that is remembered already needs no further place, and when the flood is over everybody has one again.
    assert stops.add(named(1))
    clock.now += 5.1
    assert stops.add(named("last"))
    assert stops.take(named("last"))


def test_a_caller_that_floods_leaves_others_their_places(stops: EarlyStops) -> None:
    assert not all([stops.add(named(number, "greedy")) for number in range(50)])
    assert stops.add(named("id", "modest"))
    assert stops.take(named("id", "modest"))
    assert stops.take(named(0, "greedy"))
    assert stops.add(named("one more", "greedy"))


def test_a_flood_of_requests_makes_the_newest_ends_known(stops: EarlyStops) -> None:
    for number in range(500):
        stops.finished(named(number))
    stops.add(named(499))
    assert not stops.take(named(499))
