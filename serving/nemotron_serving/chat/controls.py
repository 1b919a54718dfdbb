"""The parts of a prompt: control tokens and text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """A control token by its name in the tokenizer, such as `<|im_start|>`."""

    token: str


PromptPart = Control | str


class ControlTokens:
    """Finds the control tokens of a tokenizer in text whose author may write them."""

    def __init__(self, names: Iterable[str]) -> None:
        longest_first = sorted(names, key=len, reverse=True)
        nothing = "(?!)"
        self._pattern = re.compile("(" + ("|".join(map(re.escape, longest_first)) or nothing) + ")")

    def split(self, text: str) -> list[PromptPart]:
        """The text in parts, none of them empty."""
        # With one group in the pattern, every second piece is what the group found.
        pieces = enumerate(self._pattern.split(text))
        return [Control(piece) if number % 2 else piece for number, piece in pieces if piece]
