"""Reads what docstrings say of parameters, in the styles of Google, NumPy and Sphinx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

# Sections of parameters in the styles of Google and NumPy, then others that end a description.
_OF_PARAMETERS = ("args", "arguments", "parameters", "params", "attributes", "keyword args", "other parameters")
_OTHERS = (
    "returns",
    "return",
    "raises",
    "yields",
    "yield",
    "example",
    "examples",
    "note",
    "notes",
    "see also",
    "warns",
)
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_SPHINX_ENTRY = re.compile(r":(?:param|parameter|arg|argument|ivar)\b[^:]*?(\w+)\s*:\s*(.*)")
_UNDERLINE = re.compile(r"-{3,}\s*")


def summary(text: str | None) -> str:
    """The first paragraph on one line; empty where there is none."""
    lines: list[str] = []
    for line in inspect.cleandoc(text or "").splitlines():
        if not line.strip() or line.startswith(":") or _section(line) is not None:
            break
        lines.append(line.strip())
    return " ".join(lines)


def descriptions(text: str | None) -> dict[str, str]:
    """What is said of each parameter, or of each attribute of a class, on one line each."""
    lines = inspect.cleandoc(text or "").splitlines()
    found: dict[str, str] = {}
    for number, line in enumerate(lines):
        if entry := _SPHINX_ENTRY.fullmatch(line):
            _add(found, entry[1], [entry[2], *_indented(lines[number + 1 :])])
        elif _section(line) in _OF_PARAMETERS:
            rest = lines[number + 1 :]
            if rest and _UNDERLINE.fullmatch(rest[0]):
                _read_numpy(rest[1:], found)
            elif line.rstrip().endswith(":"):
                _read_google(list(_indented(rest)), found)
    return found


def _section(line: str) -> str | None:
    name = line.rstrip().removesuffix(":").lower()
    return name if name in _OF_PARAMETERS or name in _OTHERS else None


def _read_google(lines: list[str], found: dict[str, str]) -> None:
    for number, line in enumerate(lines):
        if not line.startswith(" ") and (entry := _GOOGLE_ENTRY.fullmatch(line)):
            _add(found, entry[1], [entry[2], *_indented(lines[number + 1 :])])


def _read_numpy(lines: list[str], found: dict[str, str]) -> None:
    for number, line in enumerate(lines):
        if number + 1 < len(lines) and _UNDERLINE.fullmatch(lines[number + 1]):
            return  # the next section
        if not line.startswith(" ") and (entry := _NUMPY_ENTRY.fullmatch(line)):
            for name in entry[1].split(","):
                _add(found, name.strip().lstrip("*"), list(_indented(lines[number + 1 :])))


def _indented(lines: list[str]) -> Iterator[str]:
    """The indented lines at the beginning, without their common indentation."""
    block = []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            break
        block.append(line)
    yield from inspect.cleandoc("\n" + "\n".join(block)).splitlines()


def _add(found: dict[str, str], name: str, lines: list[str]) -> None:
    if text := " ".join(line.strip() for line in lines if line.strip()):
        found[name] = text
