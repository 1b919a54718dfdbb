"""Numbers as reports and the terminal show them."""

from __future__ import annotations

NO_VALUE = "\u2013"


def number(value: float | None) -> str:
    """Three digits or all of the whole ones, thousands apart; a dash for no value."""
    if value is None:
        return NO_VALUE
    if value == 0 or abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def share(value: float | None) -> str:
    """A share as per cent; a dash for no value."""
    if value is None:
        return NO_VALUE
    if 0 < value < 0.0001:
        return "<0.01%"  # Hardly any is not none,
    if 0.9995 <= value < 1:
        return f"{min(value, 0.9999):.2%}"  # and nearly all is not all.
    return f"{100 * value:.{3 if value >= 0.01 else 2}g}%"


def in_unit(value: float | None, unit: str) -> str:
    """A value with its unit; a dash for no value."""
    if value is None:
        return NO_VALUE
    return share(value) if unit == "share" else f"{number(value)}\u00a0{unit}"


def short(value: float) -> str:
    """A number on an axis: 1200 is 1.2k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"
