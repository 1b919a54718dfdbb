"""Where a field stands in a TOML file."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[+\s*(?P<name>[^\[\]]+?)\s*\]+\s*(?:#.*)?")
_KEY = re.compile(r"""\s*(?P<name>[\w.\s"'-]+?)\s*=""")
_INDEX = re.compile(r"\[[^\]]*\]")


def line_of(text: str, field: str) -> int | None:
    """The number of the line, from 1, on which a field or the table around it is set.

    Args:
        text: The file, valid TOML.
        field: Like `arrivals.rate`.

    Returns:
        None where nothing of it is written down.
    """
    wanted = _INDEX.sub("", field).split(".")
    table: list[str] = []
    best, found = 0, None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            table = _names(header["name"])
            here = table
        elif key := _KEY.match(line):
            here = table + _names(key["name"])
        else:
            continue
        if best < len(here) <= len(wanted) and here == wanted[: len(here)]:
            best, found = len(here), number
    return found


def _names(dotted: str) -> list[str]:
    return [name.strip(" \t\"'") for name in dotted.split(".")]
