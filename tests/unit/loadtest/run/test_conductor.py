"""A run against nobody is ended; one against a full server is not."""

from __future__ import annotations

import pytest

from nemotron_loadtest.run.conductor import FailureWatch
from nemotron_loadtest.samples import Outcome, Sample


def sample(ended_s: float, outcome: Outcome = "error", error_type: str = "ServerUnavailableError") -> Sample:
    return Sample(
        request_id="r",
        user="grpc_stream",
        thinking=False,
        intended_s=0,
        started_s=0,
        ended_s=ended_s,
        outcome=outcome,
        error_type=error_type if outcome == "error" else "",
    )


def hopeless(*samples: Sample) -> bool:
    watch = FailureWatch(seconds=5, requests=3)
    for one in samples:
        watch.see(one)
    return watch.hopeless


def test_everything_fails_for_some_seconds() -> None:
    assert hopeless(*map(sample, (1, 2, 3, 4, 5, 6)))
    assert not hopeless(*map(sample, (1, 2, 3, 4, 5)))


def test_two_failures_say_little() -> None:
    assert not hopeless(sample(1), sample(60))


@pytest.mark.parametrize(
    "alive",
    [sample(4, "ok"), sample(4, "cancelled"), sample(4, "error", "OverloadedError")],
    ids=lambda one: one.outcome,
)
def test_a_sign_of_life(alive: Sample) -> None:
    assert not hopeless(sample(1), sample(2), sample(3), alive, sample(7))


def test_what_the_run_itself_has_cut_says_nothing() -> None:
    assert hopeless(sample(1), sample(2), sample(4, "incomplete"), sample(7))
