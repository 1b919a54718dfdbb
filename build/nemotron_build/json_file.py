"""Writing JSON files, for people and programs."""

from __future__ import annotations

from pathlib import Path

import msgspec


def write_json(path: Path, content: object) -> None:
    """Write what msgspec can encode, indented."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
