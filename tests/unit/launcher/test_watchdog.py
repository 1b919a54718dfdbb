from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from nemotron_serving.heartbeat import Beat, Pulse
from nemotron_serving.launcher.watchdog import HangWatch, Watchdog

LOOK_S = 0.25


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watched:
    """A watchdog and the pulses that it is shown."""

    hang_seconds: float = 20.0
    withheld: bool = False
    clock: Clock = field(default_factory=Clock)
    pulses: dict[str, Pulse] = field(default_factory=lambda: {"it": Pulse(False, 0)})

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(self.hang_seconds, lambda: self.withheld, self.clock)
        self.look()

    def look(self, after_s: float = LOOK_S) -> str | None:
        self.clock.now += after_s
        return self.watchdog.look(self.pulses)

    def look_for(self, seconds: float) -> str | None:
        """The first word of something that hangs, in looks over these seconds."""
        return next(filter(None, (self.look() for _ in range(round(seconds / LOOK_S)))), None)

    def noticed_s(self, most_s: float = 1000.0) -> float | None:
        """After how many seconds something was found to hang."""
        began = self.clock.now
        return self.clock.now - began if self.look_for(most_s) else None

    def step(self, seconds: float) -> None:
        """Busy for so long, then progress."""
        self.pulses["it"] = Pulse(True, self.pulses["it"].count)
        assert self.look_for(seconds) is None
        self.pulses["it"] = Pulse(True, self.pulses["it"].count + 1)
        assert self.look() is None


@pytest.mark.parametrize(
    ("steps", "hang_seconds", "expected_s"),
    [
        ([], 20, 20),
        ([], 2, 2),
        ([1, 6], 20, 20),
        ([1, 10, 2], 20, 30),
        ([19, 50], 20, 150),
    ],
)
def test_what_is_busy_without_progress_hangs_after_a_time_that_its_own_steps_stretch(
    steps: list[float], hang_seconds: float, expected_s: float
) -> None:
    watched = Watched(hang_seconds)
    for seconds in steps:
        watched.step(seconds)
    watched.pulses["it"] = Pulse(True, watched.pulses["it"].count)
    noticed_s = watched.noticed_s()
    assert noticed_s is not None
    assert expected_s <= noticed_s <= expected_s + 4 * LOOK_S


def test_a_step_that_is_known_to_be_long_gets_three_times_its_time() -> None:
    watched = Watched()
    watched.pulses["it"] = Pulse(True, 0, step_s=30.0)
    noticed_s = watched.noticed_s()
    assert noticed_s is not None
    assert 90 <= noticed_s <= 91


def test_nothing_to_do_and_progress_are_no_hang() -> None:
    watched = Watched()
    assert watched.look_for(1000) is None
    for _ in range(10):
        watched.step(15)
        watched.pulses["it"] = Pulse(False, watched.pulses["it"].count)
        assert watched.look_for(100) is None


def test_callers_that_give_up_are_no_progress() -> None:
    watched = Watched()
    for _ in range(4):
        watched.pulses["it"] = Pulse(True, 0)
        assert watched.look_for(4) is None
        watched.pulses["it"] = Pulse(False, 0)
        assert watched.look_for(100) is None
    watched.pulses["it"] = Pulse(True, 0)
    assert watched.look_for(6) is not None


def test_a_watchdog_that_stood_still_has_seen_nothing() -> None:
    watched = Watched()
    watched.pulses["it"] = Pulse(True, 0)
    for _ in range(10):
        assert watched.look(after_s=3600) is None
    assert watched.look_for(10) is None


@pytest.mark.parametrize("hang_seconds", [1, 20])
def test_time_in_which_it_got_no_cpu_does_not_count(hang_seconds: float) -> None:
    watched = Watched(hang_seconds, withheld=True)
    watched.pulses["it"] = Pulse(True, 0)
    assert watched.look_for(1000) is None
    watched.withheld = False
    noticed_s = watched.noticed_s()
    assert noticed_s is not None
    assert hang_seconds / 2 < noticed_s <= hang_seconds


def test_one_of_many_is_named_with_its_time() -> None:
    watched = Watched()
    watched.pulses |= {"another": Pulse(True, 0), "a third": Pulse(False, 0)}
    for count in range(100):
        watched.pulses["it"] = Pulse(True, count)
        if hang := watched.look():
            assert hang == "another has made no progress for 20 s"
            return
    pytest.fail("not noticed")


@dataclass
class PretendProbe:
    asking: bool = False
    answers: int = 0

    def pulse(self) -> Pulse:
        return Pulse(self.asking, self.answers)

    def close(self) -> None:
        self.asking = False


class Server:
    """Two models that beat, and a probe."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.work = {"a": Pulse(False, 0), "b": Pulse(False, 0)}
        self.probe = PretendProbe()
        self.watch = HangWatch(self.beats, self.probe, 20, lambda: False, self.clock)  # type: ignore[arg-type]

    def beats(self) -> Iterable[Beat]:
        return [Beat(model, {"work": pulse}) for model, pulse in self.work.items()]

    def look_for(self, seconds: float) -> str | None:
        for _ in range(round(seconds / LOOK_S)):
            self.clock.now += LOOK_S
            if hang := self.watch.look():
                return hang
        return None


def test_idle_models_that_beat_are_well_and_one_that_stops_is_not() -> None:
    server = Server()
    assert server.look_for(60) is None
    del server.work["a"]
    assert server.look_for(19) is None
    assert server.look_for(3) == "the process of model 'a' has made no progress for 20 s"


def test_a_model_that_never_beats_is_none_of_ours() -> None:
    server = Server()
    server.work.clear()
    assert server.look_for(60) is None


def test_work_that_stands_is_noticed_though_its_process_beats() -> None:
    server = Server()
    server.work["b"] = Pulse(True, 0)
    assert server.look_for(30) == "the work of model 'b' has made no progress for 20 s"


def test_a_probe_without_an_answer_is_noticed() -> None:
    server = Server()
    server.probe.asking = True
    assert server.look_for(30) == "the launcher's request to tritonserver has made no progress for 20 s"


def test_a_probe_may_wait_while_models_work_for_others() -> None:
    server = Server()
    server.probe.asking = True
    for count in range(100):
        server.work["a"] = Pulse(True, count)
        assert server.look_for(3) is None
    assert server.look_for(30) is not None
