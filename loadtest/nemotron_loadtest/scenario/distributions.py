"""Numbers drawn by chance: lengths in tokens and delays in seconds.

All are truncated: a value outside min and max is never drawn, and those inside keep their proportions. A draw maps one
uniform number through the inverse of the truncated distribution function, so it always takes exactly one.
"""

from __future__ import annotations

import math
from random import Random
from statistics import NormalDist
from typing import Annotated

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


class _Truncated(_Distribution, frozen=True, kw_only=True):
    """A distribution over all numbers, cut to those from min to max.

    Attributes:
        mean: Mean, before it is truncated.
        min: Smallest value.
        max: Largest value.
    """

    mean: _Positive
    min: _Number = 0.0
    max: _Positive = float(MAX_TOKENS)

    def __post_init__(self) -> None:
        if self.min >= self.max:
            raise ValueError(f"min is {self.min:g}, expected less than max {self.max:g}")
        if self._cdf(self.max) - self._cdf(self.min) < _LEAST_MASS:
            raise ValueError(
                f"min {self.min:g} to max {self.max:g} holds less than {_LEAST_MASS:.1%} of the distribution; widen it"
            )

    def draw(self, random: Random) -> float:
        """One value."""
        low, high = self._cdf(self.min), self._cdf(self.max)
        share = min(1 - _EDGE, max(_EDGE, low + (high - low) * random.random()))  # the ends have no inverse
        return min(self.max, max(self.min, self._inverse(share)))

    def _cdf(self, value: float) -> float:
        """The share of the values below this one, before the distribution is truncated."""
        raise NotImplementedError

    def _inverse(self, share: float) -> float:
        """The value below which this share lies."""
        raise NotImplementedError


class Normal(_Truncated, frozen=True, kw_only=True, tag="normal"):
    """A normal distribution.

    Attributes:
        std: Standard deviation, before it is truncated.
    """

    std: _Positive

    def _cdf(self, value: float) -> float:
        return NormalDist(self.mean, self.std).cdf(value)

    def _inverse(self, share: float) -> float:
        return NormalDist(self.mean, self.std).inv_cdf(share)


class Lognormal(_Truncated, frozen=True, kw_only=True, tag="lognormal"):
    """Numbers whose logarithm is normal: many small values and a long tail, as lengths of chats have.

    With mean m and standard deviation s of the values themselves, the logarithm has the variance ln(1 + s²/m²) and the
    mean ln(m) less half of that.

    Attributes:
        std: Standard deviation, before it is truncated.
    """

    std: _Positive

    def _cdf(self, value: float) -> float:
        return self._logarithm().cdf(math.log(value)) if value > 0 else 0.0

    def _inverse(self, share: float) -> float:
        return math.exp(self._logarithm().inv_cdf(share))

    def _logarithm(self) -> NormalDist:
        variance = math.log1p((self.std / self.mean) ** 2)
        return NormalDist(math.log(self.mean) - variance / 2, math.sqrt(variance))


class Exponential(_Truncated, frozen=True, kw_only=True, tag="exponential"):
    """The time to an event that may happen at any moment alike."""

    def _cdf(self, value: float) -> float:
        return -math.expm1(-value / self.mean)

    def _inverse(self, share: float) -> float:
        return -self.mean * math.log1p(-share)


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
