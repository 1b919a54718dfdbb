from __future__ import annotations

from nemotron_serving.generation.waiting import WaitingRequests


def popped(queue: WaitingRequests[str], *, long_allowed: bool = True) -> list[str]:
    found = []
    while (one := queue.pop(long_allowed=long_allowed)) is not None:
        found.append(one)
    return found


def test_priority_comes_first_then_arrival() -> None:
    queue = WaitingRequests[str]()
    for name, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 0), ("e", -1)):
        queue.push(name, priority, long=False)
    assert popped(queue) == ["c", "e", "a", "d", "b"]


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
