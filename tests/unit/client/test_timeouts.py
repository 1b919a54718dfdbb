"""Timeouts in parts, and the one deadline that follows from them."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from nemotron_client import Client, Timeouts
from nemotron_client._request import cancel_call
from nemotron_client._timeouts import Deadline
from nemotron_client._transports import Call
from nemotron_client._watch import Guarded, Watch
from tests.unit.client.pretend import Pretend

PARTS = Timeouts(first_token=5, between_tokens=2, total=20)


def test_parts_that_are_not_given_have_their_defaults() -> None:
    assert Timeouts(total=30).first_token == Timeouts().first_token
    assert Timeouts.of(30.0) == Timeouts(total=30)
    assert Timeouts.of(None) == Timeouts(None, None, None, None)
    assert Timeouts.of(PARTS) is PARTS


@pytest.mark.parametrize("value", [0, -1, math.nan, True, "5"])
@pytest.mark.parametrize("part", ["connect", "first_token", "between_tokens", "total"])
def test_a_part_has_to_be_seconds(part: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{part} {value!r} was given, expected seconds above 0, or None"):
        Timeouts(**{part: value})


def test_with_options_does_not_change_the_connection() -> None:
    with Client("grpc://127.0.0.1:1", timeouts=Timeouts(connect=1)) as client:
        client.with_options(timeouts=Timeouts(total=3))
        client.with_options(timeouts=None)
        with pytest.raises(ValueError, match=r"connect 2 .* give it to the client's constructor"):
            client.with_options(timeouts=Timeouts(connect=2))


def test_each_part_expires_under_its_name() -> None:
    def expired(deadline: Deadline, at: float) -> str | None:
        assert not deadline.expire(at - 0.001)
        assert deadline.expire(at)
        return deadline.expired

    deadline = Deadline(PARTS, 100)
    deadline.sent(101)
    assert expired(deadline, 106) == "first_token"
    deadline = Deadline(PARTS, 100)
    deadline.sent(101)
    deadline.resting()
    deadline.waiting(110)
    assert expired(deadline, 112) == "between_tokens"
    deadline.waiting(119)
    assert deadline.expired == "between_tokens"  # what came first stays
    deadline = Deadline(PARTS, 100)
    deadline.waiting(119)
    assert expired(deadline, 120) == "total"


def test_a_program_that_takes_its_time_is_only_limited_by_the_total() -> None:
    deadline = Deadline(PARTS, 100)
    deadline.waiting(101)
    deadline.resting()
    assert not deadline.expire(119)


def test_without_limits_nothing_expires() -> None:
    deadline = Deadline(Timeouts.of(None), 0)
    deadline.sent(0)
    assert not deadline.expire(1e9)
    deadline.waiting(0)
    assert not deadline.expire(1e9)


def test_the_message_names_the_limit_and_its_setting() -> None:
    deadline = Deadline(PARTS, 0)
    deadline.sent(0)
    deadline.expire(9)
    error = deadline.error(request_id="r", url="grpc://a")
    assert (error.phase, error.request_id, error.url) == ("first_token", "r", "grpc://a")
    assert str(error).startswith("No first token from grpc://a within 5 s")
    assert "`Timeouts.first_token`" in str(error)


class Alarm:
    """A guarded deadline that is `seconds` away, and whether it rang."""

    def __init__(self, seconds: float, soon: float | None = None) -> None:
        self.rang = threading.Event()
        self.count = 0
        self.due, self.at = time.perf_counter() + seconds, 0.0
        deadline = Deadline(Timeouts(None, None, soon, seconds), time.perf_counter())
        self.guarded = Guarded(deadline, weakref.WeakMethod(self._ring))

    def _ring(self) -> None:
        self.count += 1
        self.at = time.perf_counter()
        self.rang.set()


@pytest.fixture
def watch() -> Any:
    watch = Watch()
    watch.start()
    yield watch
    watch.close(5)


def test_the_watch_calls_each_deadline_once(watch: Watch) -> None:
    late, soon, done = Alarm(0.2), Alarm(0.05), Alarm(0.01)
    done.guarded.done = True
    for alarm in (late, soon, done):
        watch.look_at(alarm.guarded)
    assert soon.rang.wait(5)
    assert late.rang.wait(5)
    assert soon.at >= soon.due
    assert late.at >= late.due
    assert (late.count, soon.count, done.count) == (1, 1, 0)


def test_a_deadline_that_moved_closer_rings_early_and_one_that_moved_away_late(watch: Watch) -> None:
    closer, away, control = Alarm(60, 0.01), Alarm(60, 0.8), Alarm(1.2)
    away.guarded.deadline.waiting(time.perf_counter())
    for alarm in (closer, away, control):
        watch.look_at(alarm.guarded)
    away.guarded.deadline.resting()
    closer.guarded.deadline.waiting(time.perf_counter())
    watch.look_at(closer.guarded)
    assert closer.rang.wait(5)
    assert control.rang.wait(5)
    assert not away.rang.is_set()


def test_a_cancel_that_cannot_be_sent_does_not_end_the_watch(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Pretend):
        def post(self, call: Call, timeout_s: float, done: Callable[[], None]) -> None:  # noqa: ARG002
            raise RuntimeError("s3cret")

    caplog.set_level(logging.DEBUG, "nemotron_client")
    alarm = Alarm(0.05)
    watch.post(Broken(), cancel_call("r-7", {}))
    watch.look_at(alarm.guarded)
    assert alarm.rang.wait(5)
    assert caplog.messages == ["request r-7 cannot be cancelled: RuntimeError"]
    begin = time.perf_counter()
    watch.close(30)
    assert time.perf_counter() - begin < 15  # waits for no answer


def test_closing_the_watch_ends_its_thread() -> None:
    before = threading.active_count()
    watch = Watch()
    watch.close(5)  # never started
    watch.start()
    assert threading.active_count() == before + 1
    watch.close(5)
    assert threading.active_count() == before
