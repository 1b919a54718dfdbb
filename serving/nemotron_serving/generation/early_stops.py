"""Stops whose request has not come yet, told apart from stops that come after its end.

A client that cancels at once sends its stop while the request is still in preprocessing.
"""

from __future__ import annotations

import collections
import time
from typing import TypeVar

_VALID_S = 5.0
_REMEMBERED_IDS = 4096

_T = TypeVar("_T")


class EarlyStops:
    """Remembers stops by the caller's request id, for a short time and a bounded number."""

    def __init__(self) -> None:
        self._until: collections.OrderedDict[str, float] = collections.OrderedDict()
        self._finished: collections.OrderedDict[str, None] = collections.OrderedDict()

    def add(self, client_id: str) -> None:
        """A stop came for a request that is not in flight."""
        if client_id and client_id not in self._finished:
            _remember(self._until, client_id, time.monotonic() + _VALID_S)

    def take(self, client_id: str) -> bool:
        """A request came: whether it was stopped already."""
        self._finished.pop(client_id, None)
        return time.monotonic() < self._until.pop(client_id, 0.0)

    def finished(self, client_id: str) -> None:
        """A request has ended; a stop for it is late, not early."""
        _remember(self._finished, client_id, None)


def _remember(known: collections.OrderedDict[str, _T], key: str, value: _T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _REMEMBERED_IDS:
        known.popitem(last=False)
