from __future__ import annotations

from nemotron_serving.launcher.policy import RestartPolicy


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_wait_doubles_and_ends() -> None:
    policy = RestartPolicy(clock=Clock())
    assert [policy.delay_after_crash() for _ in range(5)] == [0.0, 1.0, 2.0, 4.0, None]


def test_old_crashes_are_forgotten() -> None:
    clock = Clock()
    policy = RestartPolicy(most_crashes=3, window_s=300, clock=clock)
    assert [policy.delay_after_crash() for _ in range(2)] == [0.0, 1.0]
    clock.now += 299
    assert policy.delay_after_crash() is None
    clock.now += 2
    assert policy.delay_after_crash() == 1.0, "only the crash of two seconds ago counts"


def test_a_server_that_crashes_now_and_then_is_restarted_for_ever() -> None:
    clock = Clock()
    policy = RestartPolicy(clock=clock)
    for _ in range(20):
        assert policy.delay_after_crash() == 0.0
        clock.now += 301
