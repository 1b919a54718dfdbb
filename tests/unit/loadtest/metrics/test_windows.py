"""What happened in a window, worked out by hand."""

from __future__ import annotations

import pytest

from nemotron_loadtest.metrics import METRICS, Ratio, Traffic, Window, count_outcomes
from nemotron_loadtest.samples import Sample
from tests.unit.loadtest.metrics.making import made

WINDOW = Window(10, 20)

# Began in the warm-up and ended in the window; in the window; sent late, after it; ended after it; failed; left.
BEFORE = made((9.0, 2), (12.0, 10), intended_s=8.0)
WITHIN = made((11.0, 1), (13.0, 5), intended_s=10.0, cached_tokens=50)
LATE = made((21.0, 4), intended_s=19.5, started_s=20.5, cached_tokens=0, prompt_tokens=300)
OVER = made((15.0, 3), (22.0, 9), intended_s=14.0)
FAILED = made((16.0, 2), intended_s=15.0, ended_s=17.0, outcome="error", error_type="ServerError")
LEFT = made((16.0, 1), intended_s=15.0, ended_s=16.0, outcome="cancelled")
SAMPLES = [BEFORE, WITHIN, LATE, OVER, FAILED, LEFT]


def value(name: str, samples: list[Sample], window: Window = WINDOW) -> float | None:
    metric = METRICS[name]
    assert isinstance(metric, Ratio)
    return metric.value(Traffic(samples, window))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("output_tokens_per_s", (8 + 5 + 3 + 2 + 1) / 10),
        ("requests_per_s", 2 / 10),
        ("requested_per_s", 5 / 10),
        ("sent_per_s", 4 / 10),
        ("achieved_share", 3 / 5),
        ("in_flight", (2 + 3 + 6 + 2 + 1) / 10),
        ("error_share", 1 / 5),
        ("incomplete_share", 0),
        ("cancelled_share", 1 / 5),
        ("prefix_cache_share", 50 / 400),
    ],
)
def test_figures(name: str, expected: float) -> None:
    assert value(name, SAMPLES) == pytest.approx(expected)


def test_the_end_of_a_window_belongs_to_the_next() -> None:
    edge = made((20.0, 1), intended_s=20.0)
    assert value("requested_per_s", [edge]) == 0
    assert value("output_tokens_per_s", [edge], Window(20, 30)) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["achieved_share", "error_share", "prefix_cache_share"])
def test_a_share_of_nothing_is_none(name: str) -> None:
    assert value(name, []) is None


def test_the_parts_of_a_window_add_up_to_it() -> None:
    whole = Traffic(SAMPLES, WINDOW)
    for metric in METRICS.values():
        if isinstance(metric, Ratio):
            sums = [metric.of(part) for part in whole.split(7)]
            assert [sum(column) for column in zip(*sums, strict=True)] == pytest.approx(list(metric.of(whole)))


def test_outcomes_by_type_with_the_most_frequent_first() -> None:
    samples = [
        made(outcome="error", error_type="Timeout"),
        made(outcome="error", error_type="Overloaded"),
        made(outcome="error", error_type="Overloaded"),
        made(outcome="incomplete"),
        made((11.0, 1)),
    ]
    found = count_outcomes(samples)
    assert (found.requests, found.ok, found.errors, found.cancelled, found.incomplete) == (5, 1, 3, 0, 1)
    assert list(found.errors_by_type.items()) == [("Overloaded", 2), ("Timeout", 1)]
