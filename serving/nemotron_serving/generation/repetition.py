"""An output that repeats itself for ever."""

from __future__ import annotations

from collections.abc import Sequence

_WINDOW = 256  # tokens that have to be one pattern over and over
_LONGEST_PERIOD = 64  # tokens of the pattern: four of them at the least
_CHECK_EVERY = 32  # tokens


class RepetitionGuard:
    """Notices an output that has fallen into an endless loop; looks at its end every few tokens.

    An output loops when its last 256 tokens have a period of at most 64 tokens. Tables, lists and code repeat
    themselves too, but rarely word for word for so long.
    """

    def __init__(self) -> None:
        self._next_check = _WINDOW

    def loops(self, token_ids: Sequence[int]) -> bool:
        """Whether the output so far ends in a loop; looks only when enough tokens are new."""
        if len(token_ids) < self._next_check:
            return False
        self._next_check = len(token_ids) + _CHECK_EVERY
        return shortest_period(token_ids[-_WINDOW:]) <= _LONGEST_PERIOD


def shortest_period(values: Sequence[int]) -> int:
    """The least p with `values[i] == values[i + p]` for all i: the length less the longest border.

    Knuth, Morris and Pratt's failure function, in linear time.
    """
    borders = [0] * len(values)
    border = 0
    for index in range(1, len(values)):
        while border and values[index] != values[border]:
            border = borders[border - 1]
        border += values[index] == values[border]
        borders[index] = border
    return len(values) - (borders[-1] if values else 0)
