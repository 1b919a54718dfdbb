"""Numbers as people read them."""

from __future__ import annotations

import pytest

from nemotron_loadtest.numbers import in_unit, number, share, short


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2013"), (0, "0"), (0.004, "0.004"), (0.25, "0.25"), (9.996, "10.0"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.3, "30%"),
        (0.0213, "2.13%"),
        (0.99999, "99.99%"),
        (0.00001, "<0.01%"),
        (0.9791, "97.9%"),
    ],
)
def test_shares_are_never_rounded_to_all_or_none(value: float, text: str) -> None:
    assert share(value) == text


def test_units() -> None:
    assert in_unit(0.5, "share") == "50%"
    assert in_unit(12.0, "ms") == "12.0\u00a0ms"
    assert short(1200) == "1.2k"
