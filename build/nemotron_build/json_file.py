"""JSON files: reading those of a checkpoint, whoever wrote them, and writing our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nemotron_build.errors import CheckpointError

_T = TypeVar("_T")
_EXACT = 2**53  # integers that a float can hold


def read_json(path: Path, kind: type[_T]) -> _T:
    """Read the fields of `kind` from a file of a checkpoint; others are passed over, and null counts as left out.

    Raises:
        CheckpointError: it is missing, not JSON, or a field has another type.
    """
    try:
        content = read_object(path)
        return msgspec.convert({name: value for name, value in content.items() if value is not None}, kind)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} is missing. Download the checkpoint again, as a whole.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}. Download it again.") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read an object as the programs that write such files mean it.

    Python's writes NaN and Infinity, which JSON does not have; some editors put a byte order mark in front; and 8192.0
    is the integer 8192 to JSON.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object in UTF-8.
        RecursionError: it is nested too deeply.
    """
    content = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=_number)
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__} was found, expected an object")
    return content


def write_json(path: Path, content: object) -> None:
    """Write what msgspec can encode, indented, for people and programs."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
