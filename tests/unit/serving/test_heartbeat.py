from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nemotron_serving.heartbeat import Beat, Heartbeat, Heartbeats, Pulse, Work
from tests.unit.serving.support import eventually

Start = Callable[..., Heartbeat]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def launcher(tmp_path: Path, stack: ExitStack) -> Heartbeats:
    heartbeats = Heartbeats(tmp_path)
    stack.callback(heartbeats.close)
    return heartbeats


@pytest.fixture
def start(tmp_path: Path, stack: ExitStack) -> Start:
    def start(model: str, *pulses: Callable[[], dict[str, Pulse]]) -> Heartbeat:
        heartbeat = Heartbeat(tmp_path, model, *pulses)
        stack.callback(heartbeat.close)
        return heartbeat

    return start


def test_work_is_busy_inside_its_block_and_each_block_is_progress() -> None:
    work = Work()
    assert work.pulse() == Pulse(False, 0)
    with work:
        assert work.pulse() == Pulse(True, 0)
    assert work.pulse() == Pulse(False, 1)
    with pytest.raises(ValueError, match="x"), work:
        raise ValueError("x")
    assert work.pulse() == Pulse(False, 2)


def test_the_launcher_hears_all_models(launcher: Heartbeats, start: Start) -> None:
    start("one")
    engine = {"engine": Pulse(True, 7, 2.5)}
    with start("two", lambda: engine).work:
        heard: list[Beat] = []

        def both_twice() -> bool:
            heard.extend(launcher.read())
            return all([beat.model for beat in heard].count(model) >= 2 for model in ("one", "two"))

        assert eventually(both_twice)
    assert eventually(lambda: launcher.read() == []), "a beat is read once"
    pulses = {beat.model: beat.pulses for beat in heard}
    assert pulses == {"one": {"work": Pulse(False, 0)}, "two": {"work": Pulse(True, 0), **engine}}


def test_a_pipe_that_nobody_reads_harms_no_model(launcher: Heartbeats, start: Start, tmp_path: Path) -> None:
    pipe = os.open(next(tmp_path.iterdir()), os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe, b'["filler",{}]\n')
    os.close(pipe)
    reads: list[int] = []

    def read() -> dict[str, Pulse]:
        reads.append(1)
        return {}

    start("late", read)
    assert eventually(lambda: len(reads) >= 2)
    assert {beat.model for beat in launcher.read()} == {"filler"}
    assert eventually(lambda: any(beat.model == "late" for beat in launcher.read()))


def test_what_is_no_beat_is_left_out(launcher: Heartbeats, tmp_path: Path) -> None:
    pipe = os.open(next(tmp_path.iterdir()), os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b'["one",{}]\n["two\n\xff\n{}\n["three",{}]\n')
    os.close(pipe)
    assert [beat.model for beat in launcher.read()] == ["one", "three"]


def test_a_pulse_that_cannot_be_taken_is_not_the_last(launcher: Heartbeats, start: Start) -> None:
    tries = []

    def read() -> dict[str, Pulse]:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("not now")
        return {}

    start("model", read)
    assert eventually(lambda: bool(launcher.read()))


def test_without_a_launcher_nothing_is_sent() -> None:
    heartbeat = Heartbeat(None, "model", lambda: pytest.fail("nobody asks"))
    with heartbeat.work:
        pass
    heartbeat.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "nemotron-heartbeat"]
