"""Axes of plots: where a value lies between 0 and 1, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nemotron_loadtest.numbers import short

_TARGET = 4
_TAIL_SHARES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


@dataclass(frozen=True)
class Axis:
    """From low to high.

    Attributes:
        low: Value at 0.
        high: Value at 1.
        ticks: Values and what is written for them.
        warp: Makes the axis even: the logarithm, for one that grows by factors.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    warp: Callable[[float], float] = float

    def at(self, value: float) -> float:
        """Where a value lies; values beyond an end lie on it."""
        low, high = self.warp(self.low), self.warp(self.high)
        return (self.warp(min(max(value, self.low), self.high)) - low) / (high - low)


def linear(values: Iterable[float | None], *, target: int = _TARGET, most: float | None = None) -> Axis:
    """From 0 to a round number that no value exceeds.

    Args:
        values: What is to be shown.
        target: How many ticks, about.
        most: The end, where it is known.
    """
    largest = max((value for value in values if value is not None), default=0.0)
    high = most or largest or 1.0
    step = _round_step(high / target)
    end = high if most else step * math.ceil(high / step - 1e-9)
    return Axis(0.0, end, tuple((step * at, short(step * at)) for at in range(int(end / step + 1e-9) + 1)))


def between(low: float, high: float, *, target: int = _TARGET) -> Axis:
    """From one end to the other, ticks at round numbers within."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / target)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return Axis(low, high, tuple((step * at, short(step * at)) for at in range(first, last + 1)))


def growing(low: float, high: float, *, target: int = 6) -> Axis:
    """From one end above 0 to the other, equal distances for equal factors."""
    if not math.log10(high) > math.log10(low):  # the last digit of two numbers may be lost in their logarithms
        low, high = low / 2, high * 2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        ticks = [multiple * 10.0**decade for decade in decades if decade % every == 0 for multiple in multiples]
        within = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(within) <= target:
            break
    if len(within) < 2:
        return Axis(low, high, between(low, high).ticks, math.log10)
    return Axis(low, high, tuple((tick, short(tick)) for tick in within), math.log10)


def fitting(values: Iterable[float | None]) -> Axis:
    """From 0, or by factors where the values are too far apart for that."""
    known = [value for value in values if value is not None]
    above = [value for value in known if value > 0]
    if above and max(above) / min(above) > 30:
        return growing(min(above), max(above))
    return linear(known)


def tail(values: int) -> Axis:
    """Of shares, stretched towards 1: 90 %, 99 % and 99.9 % are equally far apart.

    Args:
        values: How many there are: with n, a share of 1 - 1/(n + 1) is the last that means anything.
    """
    high = max(0.9, 1 - 1 / (values + 1))
    shares = [share for share in _TAIL_SHARES if share <= high]
    return Axis(0.0, high, tuple((share, f"{share * 100:g}\u202f%") for share in shares), _nines)


def _nines(share: float) -> float:
    return -math.log10(1 - share)


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * multiple for multiple in (1, 2, 5, 10) if power * multiple >= rough * (1 - 1e-9))
