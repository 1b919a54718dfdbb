from __future__ import annotations

import itertools

import pytest

from nemotron_serving.generation.queueing import DueResponses, Pace, WaitingRequests


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def popped(queue: WaitingRequests[str], *, long_allowed: bool = True) -> list[str]:
    found = []
    while (one := queue.pop(long_allowed=long_allowed)) is not None:
        found.append(one)
    return found


def test_a_priority_counts_as_seconds_of_arrival_and_equals_keep_their_order() -> None:
    clock = Clock()
    queue = WaitingRequests[str](clock)
    for name, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 0), ("e", -1)):
        queue.push(name, priority, long=False)
    assert popped(queue) == ["c", "e", "a", "d", "b"]
    for name, at_s, priority in (("a", 0, 4), ("b", 3, 0), ("c", 5, 0), ("d", 7, -1), ("e", 8, -9)):
        clock.now = at_s
        queue.push(name, priority, long=False)
    assert popped(queue) == ["e", "b", "a", "c", "d"]


@pytest.mark.parametrize(("wait_s", "first"), [(9.9, ["greedy", "normal"]), (10.1, ["normal", "greedy"])])
def test_no_priority_moves_a_request_by_more_than_ten_seconds(wait_s: float, first: list[str]) -> None:
    clock = Clock()
    queue = WaitingRequests[str](clock)
    queue.push("normal", 0, long=False)
    clock.now += wait_s
    queue.push("greedy", -(2**31), long=False)
    queue.push("late", 2**31 - 1, long=False)
    clock.now += 9.9
    queue.push("normal too", 0, long=False)
    assert popped(queue) == [*first, "normal too", "late"]


@pytest.mark.parametrize("priority", [-1, -1000, 0])
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("others_long", [(False,), (True,), (False, True), (True, False, False, False)])
def test_nobody_starves(priority: int, long: bool, others_long: tuple[bool, ...]) -> None:
    """Twenty others send their next request as soon as one has started; a long prompt's prefill takes a second."""
    clock = Clock()
    queue = WaitingRequests[str](clock)
    kinds = itertools.cycle(others_long)
    for _ in range(20):
        queue.push("long" if (kind := next(kinds)) else "short", priority, long=kind)
    queue.push("normal", 0, long=long)
    prefill_ends = 0.0
    started: str | None = None
    while started != "normal":
        clock.now += 0.1
        assert clock.now < 10 + 20 * 1.1 + 1  # what a priority may do, those in front of it, and its own turn
        started = queue.pop(long_allowed=clock.now >= prefill_ends)
        if started == "long":
            prefill_ends = clock.now + 1
        if started:
            queue.push("long" if (kind := next(kinds)) else "short", priority, long=kind)


def test_long_and_short_ones_are_one_queue_while_long_ones_may_start() -> None:
    queue = WaitingRequests[str]()
    for name, priority, long in (("a", 0, True), ("b", 0, False), ("c", -1, True), ("d", 0, True)):
        queue.push(name, priority, long=long)
    assert popped(queue) == ["c", "a", "b", "d"]


def test_short_ones_go_ahead_while_long_ones_may_not_start() -> None:
    queue = WaitingRequests[str]()
    for name, long in (("a", True), ("b", False), ("c", True), ("d", False)):
        queue.push(name, 0, long=long)
    assert popped(queue, long_allowed=False) == ["b", "d"]
    assert popped(queue) == ["a", "c"]


def test_what_was_ended_while_it_waited_is_forgotten() -> None:
    queue = WaitingRequests[object]()
    requests = [object() for _ in range(4)]
    for number, request in enumerate(requests):
        queue.push(request, 0, long=number % 2 == 0)
    for gone in (requests[0], requests[3], object()):
        queue.discard(gone)
    assert [queue.pop(long_allowed=True) for _ in range(3)] == [requests[1], requests[2], None]


def paced(wall_s: float = 0.0, cpu_s: float = 0.0, cores: int | None = None) -> Pace:
    """After responses that all took as much."""
    pace = Pace(cores=cores)
    for _ in range(3):
        pace.sent(wall_s, cpu_s)
    return pace


@pytest.mark.parametrize("cores", [None, 2])
def test_few_streams_look_continuous(cores: int | None) -> None:
    assert Pace(cores=cores).interval_s(1000) == 0.04  # nothing was sent yet
    assert [paced(0.001, 0.001, cores).interval_s(streams) for streams in (0, 1, 2)] == [0.04] * 3


@pytest.mark.parametrize("streams", [64, 256, 1000])
@pytest.mark.parametrize("cores", [1, 2, 16])
def test_responses_take_a_twentieth_of_the_cores_that_the_engine_computes_on(streams: int, cores: int) -> None:
    cpu_s = 0.002
    interval_s = paced(9.0, cpu_s, cores).interval_s(streams)
    assert streams * cpu_s / interval_s == pytest.approx(min(0.05 * cores, streams * cpu_s / 0.04))


@pytest.mark.parametrize("streams", [64, 256, 1000])
def test_elsewhere_the_thread_that_sends_is_busy_half_of_the_time(streams: int) -> None:
    wall_s = 0.002
    assert streams * wall_s / paced(wall_s, 9.0).interval_s(streams) == pytest.approx(0.5)


def test_the_price_is_an_average_that_follows() -> None:
    pace = paced(0.001)
    pace.sent(1.0, 0.0)  # one that was held up
    assert pace.interval_s(100) == pytest.approx(0.2 + 0.05 * 199.8)
    for _ in range(200):
        pace.sent(0.001, 0.0)
    assert pace.interval_s(100) == pytest.approx(0.2, rel=0.01)


def test_a_fixed_interval_is_kept_whatever_a_response_costs() -> None:
    pace = Pace(0.0, 2)
    pace.sent(1.0, 1.0)
    assert pace.interval_s(1000) == 0.0


def test_the_first_response_goes_out_at_once_and_the_next_after_the_interval() -> None:
    due: DueResponses[int] = DueResponses(Pace(10.0))
    due.push(1, 1)
    due.push(1, 1)  # more news of the same stream
    assert (due.pop(100.0), due.pop(100.0)) == (1, None)
    due.sent(1, 100.0)
    due.push(1, 1)
    due.push(2, 2)
    assert [due.pop(109.0), due.pop(109.0), due.next_time(), due.pop(110.0)] == [2, None, 110.0, 1]
    assert due.next_time() == float("inf")


def test_what_cannot_wait_goes_out_soon_but_not_each_by_itself() -> None:
    due: DueResponses[int] = DueResponses(Pace(10.0))
    due.sent(1, 100.0)
    due.push(1, 1)
    due.push(1, 1, soon=True)
    time = due.next_time()
    assert 100.0 < time < 101.0
    assert [due.pop(100.0), due.pop(time), due.pop(float("inf"))] == [None, 1, None]
    unpaced: DueResponses[int] = DueResponses(Pace(0.0))
    unpaced.sent(1, 100.0)
    unpaced.push(1, 1, soon=True)
    assert unpaced.pop(100.0) == 1
