"""One line of a trace, in each of the formats that are known."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from nemotron_loadtest.distributions import MAX_TOKENS

BLOCK_TOKENS = 512
"""Of a prompt, the tokens that one of Mooncake's `hash_ids` stands for."""

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT = ("Timestamp", "Request tokens", "Response tokens")

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class TraceRequest(msgspec.Struct, frozen=True):
    """One request of a trace.

    Attributes:
        at_s: When it came, in seconds from where its trace counts.
        input_tokens: Of its prompt, at least 1.
        output_tokens: Of its answer, at least 1.
        hash_ids: A name for each `BLOCK_TOKENS` of the prompt: the same name, the same text. Empty where the trace does
            not say.
    """

    at_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()


class _MooncakeLine(msgspec.Struct):
    timestamp: float
    input_length: _Count
    output_length: _Count
    hash_ids: tuple[int, ...] = ()


def line_parser(first: str) -> Callable[[str], TraceRequest]:
    """What reads the lines of a file with this first line. A CSV's first line names its columns.

    Raises:
        ValueError: no format that is known.
    """
    if first.lstrip().startswith("{"):
        return parse_mooncake
    header = [name.strip() for name in _fields(first)]
    for columns, seconds in ((_AZURE, _date_s), (_BURSTGPT, _number_s)):
        if set(columns) <= set(header):
            return _CsvParser(columns, [header.index(name) for name in columns], seconds)
    raise ValueError(
        "the format is not known, expected a JSON line with timestamp, input_length and output_length, or a CSV header "
        f"with {', '.join(_AZURE)} or {', '.join(_BURSTGPT)}"
    )


def parse_mooncake(line: str) -> TraceRequest:
    """A line of Mooncake's traces, times in milliseconds.

    Raises:
        ValueError: it is none.
    """
    given = msgspec.json.decode(line, type=_MooncakeLine)
    return TraceRequest(_finite(given.timestamp) / 1000, given.input_length, given.output_length, given.hash_ids)


class _CsvParser:
    def __init__(self, columns: Sequence[str], places: Sequence[int], seconds: Callable[[str], float]) -> None:
        self._columns = columns
        self._places = places
        self._seconds = seconds

    def __call__(self, line: str) -> TraceRequest:
        fields = _fields(line)
        if len(fields) <= max(self._places):
            raise ValueError(f"{len(fields)} columns, expected {', '.join(self._columns)}")
        at, input_tokens, output_tokens = (fields[place].strip() for place in self._places)
        try:
            at_s = self._seconds(at)
        except ValueError:
            raise ValueError(f"{self._columns[0]} is {at!r}, expected a time") from None
        return TraceRequest(at_s, _count(self._columns[1], input_tokens), _count(self._columns[2], output_tokens))


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:
        raise ValueError(f"expected a line of a CSV: {error}") from None


def _date_s(text: str) -> float:
    """Azure's times: `2023-11-16 18:15:46.6805900` and `2024-05-10 00:00:00.009930+00:00`, both in UTC."""
    date, _, fraction = text.removesuffix("+00:00").partition(".")
    whole = datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return whole.timestamp() + (float(f"0.{int(fraction):0{len(fraction)}d}") if fraction else 0.0)


def _number_s(text: str) -> float:
    return _finite(float(text))


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError(f"the time is {seconds}, expected a number")
    return seconds


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= MAX_TOKENS and len(text) <= 9):
        raise ValueError(f"{name} is {text[:40]!r}, expected a whole number up to {MAX_TOKENS}")
    return int(text)
