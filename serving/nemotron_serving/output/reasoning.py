"""Split a model's text into thinking and answer.

The tags are several tokens each and fuse with their neighbours, so they are found in the text, with the longest
partial tag held back. Only the first think block counts; later tags are text.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"

Start = Literal["thinking", "expected", "detect", "answer"]
"""How the output begins.

- `thinking`: inside a think block that the prompt opened.
- `expected`: thinking is on, and the model opens the block itself. Text without `<think>` in front is held back until
  `</think>` shows that it was thinking all the same, or the end or a tool call that it was the answer.
- `detect`: a block may come first; if it does not, everything is the answer. For prompts we did not render.
- `answer`: thinking is off. Everything is the answer; an empty block in front is dropped.
"""


class Piece(NamedTuple):
    """A run of text in the order it was generated.

    `raw` is the text as the model wrote it. `reasoning` or `content` is what of it a reader sees in that field:
    tags and the newlines around the thinking belong to neither.
    """

    raw: str
    reasoning: str = ""
    content: str = ""


class ReasoningSplitter:
    """Incremental splitter: the concatenated pieces do not depend on how the text was cut."""

    def __init__(self, start: Start) -> None:
        # lead and gap: skipping the newlines before the thinking and before the answer.
        self._state: Literal["detect", "lead", "thinking", "gap", "answer"] = "detect" if start == "detect" else "lead"
        self._held = ""

    @property
    def thinking(self) -> bool:
        """Whether what comes next would be thinking."""
        return self._state in ("lead", "thinking")

    def feed(self, text: str) -> list[Piece]:
        """Take more text and return what is certain now."""
        self._held += text
        pieces: list[Piece] = []
        while (piece := self._next()) is not None:
            pieces.append(piece)
        return pieces

    def flush(self) -> list[Piece]:
        """Return what was held back; the output has ended."""
        held, self._held = self._held, ""
        if not held:
            return []
        if self._state == "thinking":
            return [Piece(held, reasoning=held.rstrip("\n"))]
        return [Piece(held, content=held)]

    def _next(self) -> Piece | None:
        if not self._held:
            return None
        if self._state == "answer":
            return self._take(len(self._held), content=self._held)
        if self._state == "detect":
            return self._detect()
        if self._state == "lead":
            return self._skip_newlines(then="thinking")
        if self._state == "gap":
            return self._skip_newlines(then="answer")
        return self._think()

    def _detect(self) -> Piece | None:
        stripped = self._held.lstrip()
        if stripped.startswith(OPEN_TAG):
            self._state = "lead"
            return self._take(len(self._held) - len(stripped) + len(OPEN_TAG))
        if OPEN_TAG.startswith(stripped):
            return None
        self._state = "answer"
        return self._next()

    def _skip_newlines(self, then: Literal["thinking", "answer"]) -> Piece | None:
        newlines = len(self._held) - len(self._held.lstrip("\n"))
        if newlines < len(self._held):
            self._state = then
        return self._take(newlines) if newlines else self._next()

    def _think(self) -> Piece | None:
        end = self._held.find(CLOSE_TAG)
        if end >= 0:
            reasoning = self._held[:end].rstrip("\n")
            self._state = "gap"
            return self._take(end + len(CLOSE_TAG), reasoning=reasoning)
        certain = len(self._held) - held_back(self._held, CLOSE_TAG)
        # Newlines before a closing tag are trimmed, so they wait for what follows them.
        certain = len(self._held[:certain].rstrip("\n"))
        return self._take(certain, reasoning=self._held[:certain]) if certain else None

    def _take(self, length: int, reasoning: str = "", content: str = "") -> Piece:
        raw, self._held = self._held[:length], self._held[length:]
        return Piece(raw, reasoning, content)


def held_back(text: str, tag: str) -> int:
    """Length of the longest end of `text` that could be the beginning of `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
