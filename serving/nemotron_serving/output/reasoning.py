"""Split a model's text into thinking and answer.

The tags are several tokens each and fuse with their neighbours, so they are found in the text, with the longest
partial tag held back. Only the first think block counts; later tags are text.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from nemotron_serving.output.tags import CLOSE_TAG, OPEN_TAG, first_tag, held_back

Start = Literal["thinking", "expected", "detect", "answer", "closed"]
"""How the output begins.

- `thinking`: inside a think block that the prompt opened.
- `expected`: thinking is on, and the model opens the block itself. Text without `<think>` in front is held back until
  `</think>` shows that it was thinking all the same, or the end or a tool call that it was the answer.
- `detect`: a block may come first; if it does not, everything is the answer. For prompts we did not render.
- `answer`: thinking is off. Everything is the answer; an empty block in front is dropped.
- `closed`: thinking is off, and the prompt closed the block. Everything is the answer but for newlines in front.
"""

# begin: white space or a part of `<think>` so far. blank: white space inside a block that is dropped if it stays empty.
# expect: the answer, or thinking whose opener is missing. lead and gap: the newlines before thinking and answer.
_State = Literal["begin", "blank", "expect", "lead", "thinking", "gap", "answer"]


class Piece(NamedTuple):
    """A run of text in the order it was generated.

    `raw` is the text as the model wrote it. `reasoning` or `content` is what of it a reader sees in that field:
    tags and the newlines around the thinking belong to neither. `content` is all of `raw` or nothing.
    """

    raw: str
    reasoning: str = ""
    content: str = ""


class ReasoningSplitter:
    """Incremental splitter: the concatenated pieces do not depend on how the text was cut.

    Args:
        start: How the output begins.
        tool_tag: What begins a tool call, and with it the answer; empty where there are no tools.
        tool_ends_thinking: Whether that holds inside thinking too.
    """

    def __init__(self, start: Start, tool_tag: str = "", *, tool_ends_thinking: bool = True) -> None:
        self._start = start
        self._state: _State = "lead" if start == "thinking" else "gap" if start == "closed" else "begin"
        self._ends_waiting = (CLOSE_TAG, tool_tag) if tool_tag else (CLOSE_TAG,)
        self._ends_thinking = self._ends_waiting if tool_ends_thinking else (CLOSE_TAG,)
        # Parked text waits like held text, but need not be looked at again.
        self._parked: list[str] = []
        self._held = ""
        self.after_thinking = ""
        """What was fed with the end of the thinking's tag and stands behind it; a tool call's tag stands behind too."""

    @property
    def thinking(self) -> bool:
        """Whether what comes next would be thinking."""
        return self._state in ("lead", "thinking")

    @property
    def undecided(self) -> bool:
        """Whether the text so far may still turn out to be thinking, or the answer."""
        return self._state in ("begin", "blank", "expect")

    def feed(self, text: str) -> list[Piece]:
        """Take more text and return what is certain now."""
        if self._state == "answer":
            return [Piece(text, content=text)] if text else []
        self._held += text
        pieces: list[Piece] = []
        while (piece := self._next()) is not None:
            pieces.append(piece)
        return pieces

    def flush(self) -> list[Piece]:
        """Return what was held back; the output has ended."""
        if not self.thinking:
            self._state = "answer"
        held = self._take(len(self._held)).raw
        if not held:
            return []
        return [Piece(held, reasoning=held.rstrip("\n")) if self.thinking else Piece(held, content=held)]

    def _next(self) -> Piece | None:
        if not self._held:
            return None
        match self._state:
            case "begin":
                step = self._begin
            case "blank":
                step = self._blank
            case "expect":
                step = self._expect
            case "thinking":
                step = self._think
            case "lead" | "gap":
                step = self._skip_newlines
            case "answer":
                step = self._answer
        return step()

    def _begin(self) -> Piece | None:
        self._park_white_space()
        if self._held.startswith(OPEN_TAG):
            if self._start == "answer":
                self._park(len(OPEN_TAG))
                return self._go_on("blank")
            self._state = "lead"
            return self._take(len(OPEN_TAG))
        if OPEN_TAG.startswith(self._held):
            return None
        return self._go_on("expect" if self._start == "expected" else "answer")

    def _blank(self) -> Piece | None:
        self._park_white_space()
        if self._held.startswith(CLOSE_TAG):
            self._state = "gap"
            return self._take(len(CLOSE_TAG))
        return None if CLOSE_TAG.startswith(self._held) else self._go_on("answer")

    def _expect(self) -> Piece | None:
        _, tag = first_tag(self._held, self._ends_waiting)
        if not tag:
            self._park(len(self._held) - held_back(self._held, self._ends_waiting))
            return None
        self._held = self._take(len(self._held)).raw
        return self._go_on("lead" if tag == CLOSE_TAG else "answer")

    def _skip_newlines(self) -> Piece | None:
        newlines = len(self._held) - len(self._held.lstrip("\n"))
        if newlines < len(self._held):
            self._state = "thinking" if self._state == "lead" else "answer"
        return self._take(newlines) if newlines else self._next()

    def _think(self) -> Piece | None:
        at, tag = first_tag(self._held, self._ends_thinking)
        if tag:
            self._state = "gap" if tag == CLOSE_TAG else "answer"
            end = at + len(tag) if tag == CLOSE_TAG else at
            self.after_thinking = self._held[end:]
            raw = self._take(end).raw
            return Piece(raw, raw[: len(raw) - end + at].rstrip("\n"))
        certain = len(self._held) - held_back(self._held, self._ends_thinking)
        # Newlines before a closing tag are trimmed, so they wait for what follows them.
        visible = len(self._held[:certain].rstrip("\n"))
        raw = self._take(visible).raw if visible else ""
        self._park(certain - visible)
        return Piece(raw, raw) if raw else None

    def _answer(self) -> Piece:
        text = self._take(len(self._held)).raw
        return Piece(text, content=text)

    def _go_on(self, state: _State) -> Piece | None:
        self._state = state
        return self._next()

    def _park_white_space(self) -> None:
        self._park(len(self._held) - len(self._held.lstrip()))

    def _park(self, length: int) -> None:
        if length:
            self._parked.append(self._held[:length])
            self._held = self._held[length:]

    def _take(self, length: int) -> Piece:
        """What is parked and that much of what is held."""
        raw = "".join(self._parked) + self._held[:length]
        self._parked.clear()
        self._held = self._held[length:]
        return Piece(raw)
