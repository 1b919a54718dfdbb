"""The same requests for every contender."""

from __future__ import annotations

import os
from pathlib import Path

OUTPUT_TOKENS = 96
_TOPICS = ("rain", "bread", "rivers", "clocks", "gardens", "ships", "maps", "bridges", "music", "glass")


def question(number: int) -> str:
    """A prompt that differs from every other number's early on, so that no prefix cache helps either side."""
    return f"Number {number}: tell me about {_TOPICS[number % len(_TOPICS)]} and about the number {number * 7919}."


def long_text(characters: int) -> str:
    """Text of the standard library's sources: varied words, code and numbers."""
    parts: list[str] = []
    size = 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        parts.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(parts[-1])
        if size >= characters:
            break
    return "".join(parts)[:characters]
