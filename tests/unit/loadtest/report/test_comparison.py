"""The page that lays two measurements over each other."""

from __future__ import annotations

from nemotron_loadtest.analysis import Run, compare
from nemotron_loadtest.report import comparison_html
from tests.unit.loadtest.report.made_up import WINDOW, requests
from tests.unit.loadtest.report.page_check import checked

NAME = "<script>alert('$x$')</script>"


def page(a: list[Run], b: list[Run]) -> str:
    return comparison_html((NAME, "after"), (a, b), compare(a, b, resamples=50))


def test_both_are_in_every_chart_and_changes_come_first() -> None:
    text = page([Run(requests(seed=1), WINDOW)], [Run(requests(seed=2, errors=0.2), WINDOW)])
    found = checked(text)
    assert found.sections == ["changes", "tails", "all"]
    assert found.tags["svg"] == 6  # three metrics, thinking on and off
    assert found.words.count(NAME) >= found.tags["svg"]
    assert "<script" not in text
    changes = text.split('id="changes"')[1].split("</section>")[0]
    assert "Failed" in changes and "noise" not in changes


def test_the_same_run_twice_has_no_changes() -> None:
    run = Run(requests(), WINDOW)
    assert "No figure changed beyond noise." in checked(page([run], [run])).words
