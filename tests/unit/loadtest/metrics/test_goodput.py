"""Which requests were worth something."""

from __future__ import annotations

import pytest

from nemotron_loadtest.metrics import METRICS, Limit, goodput
from tests.unit.loadtest.metrics.making import made

TTFT = Limit(metric=METRICS["ttft_ms"], most=500)
TPOT = Limit(metric=METRICS["tpot_ms"], most=100)

FAST = made((10.4, 1), (10.8, 6))
LATE = made((10.6, 1), (10.8, 6))
SLOW = made((10.4, 1), (11.4, 6))


def test_every_limit_has_to_hold() -> None:
    found = goodput([FAST, LATE, SLOW], [TTFT, TPOT], length_s=2)
    assert (found.good, found.requests, found.per_s) == (1, 3, 0.5)
    assert found.share == pytest.approx(1 / 3)


def test_what_failed_is_not_good_and_what_was_left_is_not_counted() -> None:
    samples = [
        FAST,
        made((10.4, 1), outcome="error"),
        made((10.4, 1), outcome="incomplete"),
        made((10.4, 1), outcome="cancelled"),
    ]
    found = goodput(samples, [TTFT], length_s=1)
    assert (found.good, found.requests) == (1, 3)


def test_a_limit_is_held_against_the_requests_that_it_is_about() -> None:
    only_on = Limit(metric=METRICS["ttft_ms"], most=500, thinking="on")
    assert goodput([LATE], [only_on], length_s=1).good == 1
    assert goodput([made((10.6, 1), thinking=True)], [only_on], length_s=1).good == 0


def test_the_start_matters() -> None:
    sent_late = made((10.6, 1), started_s=10.3)
    assert goodput([sent_late], [TTFT], length_s=1).good == 0
    assert goodput([sent_late], [Limit(metric=METRICS["ttft_ms"], most=500, origin="actual")], length_s=1).good == 1


def test_a_value_that_a_whole_answer_does_not_have_is_not_held_against_it() -> None:
    assert goodput([made((10.4, 1))], [TPOT], length_s=1).good == 1


def test_nothing_has_no_share() -> None:
    assert goodput([], [TTFT], length_s=1).share is None
