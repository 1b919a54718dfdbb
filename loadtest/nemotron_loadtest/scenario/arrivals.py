"""The `[arrivals]` table, one struct for each kind, and the `[trace]` table."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from nemotron_loadtest.scenario.distributions import Delay, Seconds

MAX_RATE = 100_000.0

RatePerS = Annotated[float, msgspec.Meta(gt=0, le=MAX_RATE)]
_RateFrom0 = Annotated[float, msgspec.Meta(ge=0, le=MAX_RATE)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=604_800.0)]
Spacing = Literal["poisson", "even"]


class _Kind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class ClosedLoop(_Kind, frozen=True, kw_only=True, tag="closed"):
    """So many users, each of whom waits for an answer before it asks again.

    Attributes:
        users: How many.
        ramp_up_s: The users start one after the other, evenly over this time.
        think_time_s: What a user waits after a conversation before it begins the next. Between the turns of one the
            workload says.
    """

    users: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    ramp_up_s: Seconds = 0.0
    think_time_s: Delay = 0.0


class Constant(_Kind, frozen=True, kw_only=True, tag="constant"):
    """A request every 1/rate seconds, whatever the server does.

    Attributes:
        rate: Requests a second.
    """

    rate: RatePerS


class Poisson(_Kind, frozen=True, kw_only=True, tag="poisson"):
    """Requests that know nothing of one another, as those of many people do.

    Attributes:
        rate: Requests a second, on average.
    """

    rate: RatePerS


class Ramp(_Kind, frozen=True, kw_only=True, tag="ramp"):
    """A rate that changes evenly, and then stays.

    Attributes:
        from_rate: Requests a second at the start.
        to_rate: At the end and after it.
        over_s: How long the change takes.
        spacing: `poisson`, or `even` for one request after the other as the rate says.
    """

    from_rate: _RateFrom0 = 0.0
    to_rate: _RateFrom0
    over_s: _Positive
    spacing: Spacing = "poisson"

    def __post_init__(self) -> None:
        if self.from_rate == self.to_rate == 0:
            raise ValueError("from_rate and to_rate are 0, expected one above")


class Staircase(_Kind, frozen=True, kw_only=True, tag="staircase"):
    """Rates one after the other.

    Attributes:
        rates: Requests a second; the last one stays.
        step_s: How long each lasts.
        spacing: As in `Ramp`.
    """

    rates: Annotated[tuple[_RateFrom0, ...], msgspec.Meta(min_length=1, max_length=1000)]
    step_s: _Positive
    spacing: Spacing = "poisson"

    def __post_init__(self) -> None:
        if not any(self.rates):
            raise ValueError("rates has nothing above 0")


class Spike(_Kind, frozen=True, kw_only=True, tag="spike"):
    """A rate that jumps up and down again.

    Attributes:
        rate: Requests a second before and after.
        peak_rate: In between.
        at_s: When it jumps up.
        for_s: How long the peak lasts.
        spacing: As in `Ramp`.
    """

    rate: _RateFrom0
    peak_rate: RatePerS
    at_s: Seconds
    for_s: _Positive
    spacing: Spacing = "poisson"


class TraceReplay(_Kind, frozen=True, kw_only=True, tag="trace"):
    """The times of the scenario's trace, from its first request on.

    Attributes:
        speed: 2 replays an hour in half an hour.
    """

    speed: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0


class Trace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[trace]` table.

    Attributes:
        path: A file. In a scenario it is relative to the scenario's directory.
    """

    path: str


OpenLoop = Constant | Poisson | Ramp | Staircase | Spike | TraceReplay
Arrivals = ClosedLoop | OpenLoop
