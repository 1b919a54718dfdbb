from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from nemotron_serving.errors import UnavailableError
from nemotron_serving.stages.preprocess import LongLane
from tests.unit.serving.support import eventually


def waiting(event: threading.Event) -> Callable[[], None]:
    """A piece of work that lasts until the event."""

    def wait() -> None:
        event.wait(20)

    return wait


@pytest.fixture
def lane() -> Iterator[LongLane]:
    lane = LongLane(3)
    yield lane
    lane.close()


def test_pieces_are_done_in_their_order_beside_the_caller(lane: LongLane) -> None:
    go_on, done = threading.Event(), []
    lane.submit(lambda: done.append(go_on.wait(20)))
    lane.submit(lambda: done.append(threading.current_thread() is not threading.main_thread()))
    assert not done
    go_on.set()
    assert eventually(lambda: done == [True, True])


def test_it_needs_no_thread_that_the_machine_may_not_have_later(
    lane: LongLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done: list[bool] = []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    lane.submit(lambda: done.append(True))
    assert eventually(lambda: done == [True])


def test_too_many_are_refused_and_those_that_are_done_leave_their_places(lane: LongLane) -> None:
    go_on = threading.Event()
    for _ in range(3):
        lane.submit(waiting(go_on))
    with pytest.raises(UnavailableError, match=r"^This server has 3 long prompts to read, which is its limit"):
        lane.submit(go_on.set)
    go_on.set()
    done = threading.Event()

    def taken() -> bool:
        try:
            lane.submit(done.set)
        except UnavailableError:
            return False
        return True

    assert eventually(taken)
    assert done.wait(20)


def test_a_piece_that_fails_keeps_nothing_from_the_next(lane: LongLane) -> None:
    for _ in range(5):
        failed = threading.Event()

        def fail(failed: threading.Event = failed) -> None:
            failed.set()
            raise ValueError

        assert eventually(lambda: lane.pulse().busy is False)
        lane.submit(fail)
        assert failed.wait(20)
    done = threading.Event()
    assert eventually(lambda: lane.pulse().busy is False)
    lane.submit(done.set)
    assert done.wait(20)


def test_it_is_busy_while_it_works_and_each_piece_is_progress(lane: LongLane) -> None:
    go_on = threading.Event()
    assert (lane.pulse().busy, lane.pulse().count) == (False, 0)
    lane.submit(waiting(go_on))
    assert eventually(lambda: lane.pulse().busy)
    go_on.set()
    assert eventually(lambda: (lane.pulse().busy, lane.pulse().count) == (False, 1))
