"""What the OpenVINO engine and its worker process say to each other."""

from __future__ import annotations

import msgspec

from nemotron_serving.engine.base import Delta, EngineRequest


class Start(msgspec.Struct, frozen=True):
    """The first frame: what to load. None means: from the machine."""

    package: str
    kv_cache_gib: int | None
    threads: int | None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded; so many tokens fit in the KV cache, and one step processes so many, in so many seconds."""

    kv_cache_tokens: int
    max_num_tokens: int
    step_s: float


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The package cannot be served, for this reason."""

    reason: str


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Generate this."""

    request: EngineRequest


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Stop this."""

    request_id: int


class StepResult(msgspec.Struct, frozen=True):
    """Deltas by request id, requests in the batch, share of the KV cache in use (0 to 1).

    Without deltas it says that the worker lives, see `EngineStats.steps`.
    """

    deltas: list[tuple[int, Delta]]
    scheduled: int
    kv_cache_used: float


ORDERS = Submit | Abort
ANSWERS = Ready | Refused
