from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from nemotron_serving.launcher.supervise import drain, take_leave


class Server:
    """Plays back how many requests run at each look; time passes only while it is waited for."""

    def __init__(self, counts: Sequence[int | None], dies_at: float | None = None) -> None:
        self._counts: Iterator[int | None] = iter(counts)
        self._dies_at = dies_at
        self._last: int | None = 0
        self.calls: list[str] = []
        self.now = 0.0

    def take_leave(self) -> None:
        self.calls.append("leave")

    def refuse_new(self) -> None:
        self.calls.append("refuse")

    def cancel_running(self) -> None:
        self.calls.append("cancel")

    def in_flight(self) -> int | None:
        self._last = next(self._counts, self._last)
        return self._last

    def death(self) -> str | None:
        return "something died" if self._dies_at is not None and self.now >= self._dies_at else None

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def drain(self, seconds: float) -> bool:
        return drain(self, seconds, clock=lambda: self.now)


def test_running_requests_finish(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([3] * 8 + [1] * 3 + [0])
    assert server.drain(30)
    assert server.calls == ["refuse"]
    said = capsys.readouterr().err.splitlines()
    assert said == ["Draining: 3 requests running, up to 30 s", "Draining: 1 request running, up to 30 s"]


def test_a_count_of_a_moment_before_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([1, 1, 1, 0])
    assert server.drain(30)
    assert capsys.readouterr().err == ""


def test_a_request_that_was_not_counted_yet_is_waited_for() -> None:
    server = Server([0, 0, 1, 1, 1, 0])
    assert server.drain(30)
    assert server.now > 1


def test_an_idle_server_is_left_soon(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([0])
    assert server.drain(30)
    assert server.now < 1
    assert capsys.readouterr().err == ""


def test_when_the_time_is_up_the_rest_is_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([2] * 12 + [0])
    assert not server.drain(1)
    assert server.calls == ["refuse", "cancel"]
    assert "2 requests still running after 1 s: cancelled." in capsys.readouterr().err
    assert server.now < 3


def test_requests_that_do_not_even_cancel_are_not_waited_for_long() -> None:
    server = Server([1])
    server._last = 1
    assert not server.drain(0)
    assert server.now == pytest.approx(5, abs=0.2)


def test_a_server_that_is_gone_has_nothing_to_drain() -> None:
    server = Server([None], dies_at=0)
    server._last = None
    assert server.drain(30)
    assert server.now == 0


def test_a_server_that_does_not_say_what_runs_is_given_its_time() -> None:
    server = Server([2, None, None, 2, 2, *([None] * 30), 0])
    assert server.drain(30)
    assert 3.5 < server.now < 5


def test_requests_of_a_server_that_died_are_lost(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([2, 2, None], dies_at=0.2)
    server._last = None
    assert not server.drain(30)
    assert "2 requests lost while draining: something died." in capsys.readouterr().err


@pytest.mark.parametrize("dies_at", [3, 31])
def test_requests_of_a_process_that_died_are_not_waited_for(dies_at: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the time is up, or while what is left is cancelled."""
    server = Server([1], dies_at)
    server._last = 1
    assert not server.drain(30)
    assert server.now == pytest.approx(dies_at, abs=0.2)
    said = capsys.readouterr().err
    assert ("1 request lost while draining: something died." in said) == (dies_at < 30)


def test_a_process_that_died_loses_nothing_once_all_is_answered() -> None:
    assert Server([1, 0], dies_at=0.1).drain(30)


def test_requests_are_taken_for_the_time_of_the_delay(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([0])
    take_leave(server, 5, clock=lambda: server.now)
    assert server.calls == ["leave"]
    assert server.now == pytest.approx(5)
    assert capsys.readouterr().err == "Not ready any more. New requests are refused in 5 s.\n"


def test_without_a_delay_nobody_is_told_before_the_first_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server([0])
    take_leave(server, 0, clock=lambda: server.now)
    assert (server.calls, server.now, capsys.readouterr().err) == ([], 0, "")


def test_a_server_that_dies_takes_no_more_requests() -> None:
    server = Server([1], dies_at=2)
    take_leave(server, 30, clock=lambda: server.now)
    assert server.now == pytest.approx(2, abs=0.3)
