"""Traces of real traffic: when requests came, and how long they and their answers were.

The format is told from the file: Mooncake's JSON lines, or a CSV with the columns of the Azure LLM traces (2023 and
2024) or of BurstGPT. Files are read line by line, so they may be larger than memory.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import MAX_TOKENS, Trace


def read_trace(trace: Trace) -> Iterator[TraceRequest]:
    """The requests of a trace, in its order.

    Lines without input or without output, which is how BurstGPT marks what failed, are left out.

    Raises:
        ScenarioError: no such file, another format, or a line that cannot be used, with its number.
    """
    begin_s: float | None = None
    last_s = -math.inf
    for number, request in _lines(trace.path):
        if request.at_s < last_s:
            raise ScenarioError(f"{trace.path}, line {number}: it is earlier than the line before it; sort the file")
        last_s = request.at_s
        begin_s = last_s if begin_s is None else begin_s
        if request.input_tokens and request.output_tokens:
            yield msgspec.structs.replace(request, at_s=request.at_s - begin_s)


def check_trace(trace: Trace, until_s: float) -> None:
    """Read a trace up to this time, so that mistakes are found before the load starts.

    Raises:
        ScenarioError: see `read_trace`; or there is no request in it.
    """
    empty = True
    for request in read_trace(trace):
        empty = False
        if request.at_s >= until_s:
            break
    if empty:
        raise ScenarioError(f"{trace.path}: there is no request in it with input and output tokens")


def _lines(path: str) -> Iterator[tuple[int, TraceRequest]]:
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            number, first = 1, file.readline()
            parse = line_parser(first)
            if parse is parse_mooncake:
                yield number, parse(first)
            for number, line in enumerate(file, start=2):
                if line.strip():
                    yield number, parse(line)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}, expected a trace; trace.path names it") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: it is not UTF-8 text, expected a trace in JSON lines or CSV") from None
    except ValueError as error:
        raise ScenarioError(f"{path}, line {number}: {error}") from None


BLOCK_TOKENS = 512
"""How many tokens of a prompt one of Mooncake's `hash_ids` stands for."""

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT = ("Timestamp", "Request tokens", "Response tokens")

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class TraceRequest(msgspec.Struct, frozen=True):
    """One request of a trace.

    Attributes:
        at_s: When it came, in seconds from where its trace counts.
        input_tokens: Length of its prompt, at least 1.
        output_tokens: Length of its answer, at least 1.
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
