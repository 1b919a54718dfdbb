from __future__ import annotations

import pytest

from nemotron_serving.generation import early_stops
from nemotron_serving.generation.early_stops import EarlyStops


class Clock:
    """Stands in for the module `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(early_stops, "time", clock)
    return clock


def test_a_stop_meets_the_next_request_once() -> None:
    stops = EarlyStops()
    assert not stops.take("id")
    stops.add("id")
    assert not stops.take("other")
    assert stops.take("id")
    assert not stops.take("id")


def test_a_stop_is_remembered_for_five_seconds(clock: Clock) -> None:
    stops = EarlyStops()
    for wait_s, met in [(4.9, True), (5.1, False)]:
        stops.add("id")
        clock.now += wait_s
        assert stops.take("id") is met


def test_a_stop_without_an_id_is_not_remembered() -> None:
    stops = EarlyStops()
    stops.add("")
    assert not stops.take("")


def test_a_stop_after_the_end_is_late_until_the_id_is_used_again() -> None:
    stops = EarlyStops()
    stops.finished("id")
    stops.add("id")
    assert not stops.take("id")
    stops.add("id")
    assert stops.take("id")


def test_the_oldest_are_forgotten() -> None:
    stops = EarlyStops()
    for number in range(5000):
        stops.add(str(number))
    assert not stops.take("0")
    assert stops.take("4999")
