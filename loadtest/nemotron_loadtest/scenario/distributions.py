"""Numbers drawn by chance: lengths in tokens and delays in seconds.

All are truncated: a value outside min and max is never drawn, and those inside keep their proportions. A draw maps one
uniform number through the inverse of the truncated distribution function, so it always takes exactly one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from statistics import NormalDist
from typing import Annotated, TypeVar

import msgspec

MAX_TOKENS = 10_000_000
MAX_DELAY_S = 604_800.0

_LEAST_MASS = 0.001
_EDGE = 1e-12

_Number = Annotated[float, msgspec.Meta(ge=0, le=MAX_TOKENS)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=MAX_TOKENS)]


class _Distribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class Uniform(_Distribution, frozen=True, kw_only=True, tag="uniform"):
    """Every value from min to max alike."""

    min: _Number
    max: _Positive

    def __post_init__(self) -> None:
        if self.min >= self.max:
            raise ValueError(f"min is {self.min:g}, expected less than max {self.max:g}")

    def draw(self, random: Random) -> float:
        """One value."""
        return self.min + (self.max - self.min) * random.random()


class Normal(_Distribution, frozen=True, kw_only=True, tag="normal"):
    """A normal distribution.

    Attributes:
        mean: Before it is truncated.
        std: Standard deviation, before it is truncated.
        min: Smallest value.
        max: Largest value.
    """

    mean: _Positive
    std: _Positive
    min: _Number = 0.0
    max: _Positive = float(MAX_TOKENS)

    def __post_init__(self) -> None:
        _check_mass(self, self._cdf)

    def draw(self, random: Random) -> float:
        """One value."""
        share = _share(random, self._cdf(self.min), self._cdf(self.max))
        return _within(self, NormalDist(self.mean, self.std).inv_cdf(share))

    def _cdf(self, value: float) -> float:
        return NormalDist(self.mean, self.std).cdf(value)


class Lognormal(_Distribution, frozen=True, kw_only=True, tag="lognormal"):
    """Its logarithm is normal: many small values and a long tail, as lengths of chats have.

    With mean m and standard deviation s of the values themselves, the logarithm has the variance ln(1 + s²/m²) and the
    mean ln(m) less half of that.

    Attributes:
        mean: Before it is truncated.
        std: Standard deviation, before it is truncated.
        min: Smallest value.
        max: Largest value.
    """

    mean: _Positive
    std: _Positive
    min: _Number = 0.0
    max: _Positive = float(MAX_TOKENS)

    def __post_init__(self) -> None:
        _check_mass(self, self._cdf)

    def draw(self, random: Random) -> float:
        """One value."""
        share = _share(random, self._cdf(self.min), self._cdf(self.max))
        return _within(self, math.exp(self._logarithm().inv_cdf(share)))

    def _cdf(self, value: float) -> float:
        return self._logarithm().cdf(math.log(value)) if value > 0 else 0.0

    def _logarithm(self) -> NormalDist:
        variance = math.log1p((self.std / self.mean) ** 2)
        return NormalDist(math.log(self.mean) - variance / 2, math.sqrt(variance))


class Exponential(_Distribution, frozen=True, kw_only=True, tag="exponential"):
    """The time to an event that may happen at any moment alike.

    Attributes:
        mean: Before it is truncated.
        min: Smallest value.
        max: Largest value.
    """

    mean: _Positive
    min: _Number = 0.0
    max: _Positive = float(MAX_TOKENS)

    def __post_init__(self) -> None:
        _check_mass(self, self._cdf)

    def draw(self, random: Random) -> float:
        """One value."""
        share = _share(random, self._cdf(self.min), self._cdf(self.max))
        return _within(self, -self.mean * math.log1p(-share))

    def _cdf(self, value: float) -> float:
        return -math.expm1(-value / self.mean)


Tokens = Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)]

Length = Tokens | Uniform | Normal | Lognormal
"""A number of tokens (or of turns): always the same, or drawn for each request."""

Delay = Seconds | Uniform | Normal | Lognormal | Exponential
"""Seconds: always the same, or drawn anew each time."""


def draw_length(length: Length, random: Random) -> int:
    """A whole number, at least 1."""
    return length if isinstance(length, int) else max(1, round(length.draw(random)))


def draw_delay(delay: Delay, random: Random) -> float:
    """Seconds."""
    return float(delay) if isinstance(delay, (int, float)) else delay.draw(random)


_Truncated = TypeVar("_Truncated", Normal, Lognormal, Exponential)


def _check_mass(of: _Truncated, cdf: Callable[[float], float]) -> None:
    if of.min >= of.max:
        raise ValueError(f"min is {of.min:g}, expected less than max {of.max:g}")
    if cdf(of.max) - cdf(of.min) < _LEAST_MASS:
        raise ValueError(
            f"min {of.min:g} to max {of.max:g} holds less than {_LEAST_MASS:.1%} of the distribution; widen it"
        )


def _share(random: Random, low: float, high: float) -> float:
    # The ends have no inverse.
    return min(1 - _EDGE, max(_EDGE, low + (high - low) * random.random()))


def _within(of: _Truncated, value: float) -> float:
    return min(of.max, max(of.min, value))
