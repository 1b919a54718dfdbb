"""When a failed request is tried again, and after how long. Does no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable

from nemotron_client import _defaults
from nemotron_client._errors import (
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
)


def checked_max_retries(value: int) -> int:
    """The number of retries that a caller gave.

    Raises:
        TypeError: not an integer.
        ValueError: below 0.
    """
    if value is None:
        raise TypeError("max_retries: None was given; say 0 for no retries, or a large number for many")
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_retries: {type(value).__name__} was given, expected int")
    if value < 0:
        raise ValueError(f"max_retries: {value} was given, expected 0 or more")
    return value


def may_succeed_later(error: NemotronError) -> bool:
    """Whether the same request may succeed elsewhere or later."""
    if isinstance(error, RequestTimeoutError):
        return error.phase == "connect"
    return isinstance(error, (ModelNotReadyError, OverloadedError, ServerUnavailableError))


def may_be_at_work(error: NemotronError) -> bool:
    """Whether the server may still generate for a request that has ended like this for the client."""
    if isinstance(error, RequestTimeoutError):
        return error.phase != "connect"
    return isinstance(error, (ServerError, ServerUnavailableError))


def delay_s(retry: int, chance: Callable[[], float] = random.random) -> float:
    """How long to wait before a retry, counted from 0: doubling, and only ever shortened by chance.

    Args:
        retry: How many retries there were before.
        chance: Draws from 0 to 1.
    """
    # The exponent is bounded: a float holds no 2**1024.
    full = min(_defaults.RETRY_FIRST_DELAY_S * _defaults.RETRY_FACTOR ** min(retry, 100), _defaults.RETRY_MAX_DELAY_S)
    return full * (1 - _defaults.RETRY_JITTER * chance())
