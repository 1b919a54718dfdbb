"""The content of a scenario file."""

from __future__ import annotations

from typing import Literal

import msgspec

UserKind = Literal["grpc_stream", "http_stream", "http_generate"]


class Arrivals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When requests are sent.

    Attributes:
        kind: `closed`: so many users, each of whom waits for an answer before it asks again. `constant` and `poisson`:
            so many requests a second, whatever the server does.
        users: Of a closed loop.
        rate: Requests a second of an open loop.
    """

    kind: Literal["closed", "constant", "poisson"] = "closed"
    users: int = 1
    rate: float = 1.0


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked.

    Attributes:
        prompt: The user's message.
        max_tokens: Of the answer.
        thinking_share: Of the requests, those with thinking on; 0 to 1.
    """

    prompt: str = "[sim:random]"
    max_tokens: int = 64
    thinking_share: float = 0.0


class Cancel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Users who leave before the answer is whole.

    Attributes:
        share: Of the requests; 0 to 1.
        after_s: How long after the start they leave.
    """

    share: float = 0.0
    after_s: float = 1.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A load test.

    Attributes:
        url: The server, or several with the same package; None is the client's default.
        user: Kind of user.
        duration_s: How long requests are sent, the warm-up included.
        warmup_s: What comes first and does not count.
        drain_s: How long running requests may take after that; what is left is incomplete.
        seed: Of all that is drawn by chance.
        slo: Name of the class that the run is judged by; None judges nothing.
        arrivals: When requests are sent.
        workload: What is asked.
        cancel: Who leaves early.
        max_in_flight: Requests at once that no run goes beyond; an arrival that finds so many is counted as not sent.
    """

    url: str | tuple[str, ...] | None = None
    user: UserKind = "grpc_stream"
    duration_s: float = 60.0
    warmup_s: float = 5.0
    drain_s: float = 30.0
    seed: int = 1
    slo: str | None = None
    arrivals: Arrivals = Arrivals()
    workload: Workload = Workload()
    cancel: Cancel = Cancel()
    max_in_flight: int = 1000
