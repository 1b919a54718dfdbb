"""Traces of real traffic: when requests came, and how long they and their answers were.

The format is told from the file: Mooncake's JSON lines, or a CSV with the columns of the Azure LLM traces (2023 and
2024) or of BurstGPT. Files are read line by line, so they may be larger than memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nemotron_loadtest.arrivals.trace_lines import TraceRequest, line_parser, parse_mooncake
from nemotron_loadtest.errors import ScenarioError


class Trace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[trace]` table.

    Attributes:
        path: A file. In a scenario it is relative to the scenario's directory.
    """

    path: str


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
