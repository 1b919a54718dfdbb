from __future__ import annotations

from nemotron_serving.launcher.policy import RestartPolicy


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def crash_and_start(policy: RestartPolicy) -> float:
    wait = policy.crashed()
    policy.started()
    return wait


def test_the_wait_grows_to_a_longest_one_and_never_ends() -> None:
    policy = RestartPolicy(clock=Clock())
    assert [crash_and_start(policy) for _ in range(9)] == [0, 1, 2, 4, 8, 16, 30, 30, 30]
    assert {crash_and_start(policy) for _ in range(1000)} == {30}


def test_crashes_are_forgotten_when_the_server_was_up_for_long() -> None:
    clock = Clock()
    policy = RestartPolicy(quiet_s=300, clock=clock)
    for expected in (0, 1, 2):
        assert crash_and_start(policy) == expected
        clock.now += 299
    clock.now += 1
    assert crash_and_start(policy) == 0


def test_a_start_that_takes_long_is_no_quiet_time() -> None:
    clock = Clock()
    policy = RestartPolicy(quiet_s=300, clock=clock)
    for expected in (0, 1, 2):
        assert policy.crashed() == expected
        clock.now += 600
        policy.started()


def test_starts_that_fail_one_after_another_end_it() -> None:
    policy = RestartPolicy(most_failed_starts=3, clock=Clock())
    assert policy.crashed() == 0
    assert [policy.start_failed() for _ in range(3)] == [1, 2, None]


def test_a_start_that_succeeds_makes_up_for_those_that_failed() -> None:
    policy = RestartPolicy(most_failed_starts=3, clock=Clock())
    for _ in range(10):
        assert None not in (policy.crashed(), policy.start_failed(), policy.start_failed())
        policy.started()


def test_crashes_before_a_start_was_complete_are_no_quiet_time_and_no_failed_starts() -> None:
    clock = Clock()
    policy = RestartPolicy(most_failed_starts=2, quiet_s=300, longest_s=4, clock=clock)
    waits = []
    for _ in range(5):
        waits.append(policy.crashed())
        clock.now += 200
    assert waits == [0, 1, 2, 4, 4]
    assert policy.start_failed() == 4
