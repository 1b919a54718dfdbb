"""Numbers in bounds, digit by digit.

Integers have at most 15 digits. So has a number with bounds in all, which keeps it on its side of them when it is
read as a double; one without bounds has up to 15 digits on either side of the point.
"""

from __future__ import annotations

from nemotron_serving.guide.characters import DIGITS
from nemotron_serving.guide.grammar import (
    Chars,
    Choice,
    GuideError,
    Node,
    Repeat,
    Seq,
    Text,
    choice,
    optional,
    sequence,
)

MAX_DIGITS = 15
_MAX = 10**MAX_DIGITS - 1
_OPEN_DIGITS = 9  # before the point, on a side of a bounded number that has no bound

_DIGIT = Chars(DIGITS)
_FIRST_DIGIT = Chars(((ord("1"), ord("9")),))
_WHOLE = Choice((Text("0"), Seq((_FIRST_DIGIT, Repeat(_DIGIT, 0, MAX_DIGITS - 1)))))

INTEGER: Node = Seq((optional(Text("-")), _WHOLE))
NUMBER: Node = Seq((INTEGER, optional(Seq((Text("."), Repeat(_DIGIT, 1, MAX_DIGITS))))))


def integer(low: int | None, high: int | None) -> Node:
    """Integers from `low` to `high`; None is no bound.

    Raises:
        GuideError: there is none of at most 15 digits.
    """
    low, high = (-_MAX if low is None else max(low, -_MAX)), (_MAX if high is None else min(high, _MAX))
    options: list[Node] = []
    if low < 0:
        options += [Seq((Text("-"), digits)) for digits in _range(max(1, -high), -low)]
    options += _range(max(low, 0), high)
    if not options:
        raise GuideError(f"no integer of at most {MAX_DIGITS} digits lies within the bounds")
    return choice(*options)


def number(low: int | None, high: int | None, *, above: bool, below: bool) -> Node:
    """Numbers from `low` to `high`; None is no bound.

    Args:
        low: Lower bound.
        high: Upper bound.
        above: Whether the lower bound itself is left out.
        below: Whether the upper bound itself is left out.

    Raises:
        GuideError: there is none.
    """
    open_end = 10**_OPEN_DIGITS - 1
    first = -max(open_end, abs(high or 0)) if low is None else low
    last = max(open_end, abs(low or 0)) if high is None else high
    decimals = MAX_DIGITS - len(str(max(abs(first), abs(last))))
    if decimals < 0:
        raise GuideError(f"a bound has more than {MAX_DIGITS} digits")
    options: list[Node] = []
    whole = (first + above, last - below)
    if whole[0] <= whole[1]:
        options.append(integer(*whole))
    if decimals:
        # With something other than zeros after the point, a number lies strictly between two integers.
        fraction = Seq((Text("."), Repeat(_DIGIT, 0, decimals - 1), _FIRST_DIGIT))
        options += [Seq((digits, fraction)) for digits in _range(max(first, 0), last - 1)]
        options += [Seq((Text("-"), digits, fraction)) for digits in _range(max(-last, 0), -first - 1)]
    if not options:
        raise GuideError("no number lies within the bounds")
    return choice(*options)


def _range(low: int, high: int) -> list[Node]:
    """The integers from `low` to `high`, neither negative; none where `low` is the larger one."""
    options: list[Node] = []
    while low <= high:
        digits = len(str(low))
        last = min(high, 10**digits - 1)
        if low == 10 ** (digits - 1) and last < high:
            # All of this length, and of the lengths up to that of the highest one.
            longest = len(str(high + 1)) - 1
            options.append(sequence(_FIRST_DIGIT, *_up_to(longest - digits, after=digits - 1)))
            last = 10**longest - 1
        else:
            options.append(_same_length(str(low), str(last)))
        low = last + 1
    return options


def _up_to(more: int, after: int) -> list[Node]:
    """`after` digits and at most so many more.

    They are written out: where many counted repetitions begin at the same place, one for each length, the engine's
    library lets the digits run on without end (seen with OpenVINO GenAI's).
    """
    parts: list[Node] = [_DIGIT] * after
    if more:
        tail: Node = optional(_DIGIT)
        for _ in range(more - 1):
            tail = optional(sequence(_DIGIT, tail))
        parts.append(tail)
    return parts


def _same_length(low: str, high: str) -> Node:
    """Digits from `low` to `high`, both of one length."""
    if low == high:
        return Text(low)
    same = next(index for index, pair in enumerate(zip(low, high, strict=True)) if pair[0] != pair[1])
    if same:
        return Seq((Text(low[:same]), _same_length(low[same:], high[same:])))
    rest = len(low) - 1
    if not rest:
        return Chars(((ord(low), ord(high)),))
    begin, end = int(low[0]), int(high[0])
    options: list[Node] = []
    if low[1:].strip("0"):
        options.append(Seq((Text(low[0]), _same_length(low[1:], "9" * rest))))
        begin += 1
    last: list[Node] = []
    if high[1:].strip("9"):
        last.append(Seq((Text(high[0]), _same_length("0" * rest, high[1:]))))
        end -= 1
    if begin <= end:
        options.append(sequence(Chars(((ord(str(begin)), ord(str(end))),)), *([_DIGIT] * rest)))
    return choice(*options, *last)
