"""Find the blocks of tool calls in an answer, and keep their markers out of its content."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from nemotron_serving.output.call_syntax import ToolCall, read_calls
from nemotron_serving.output.tags import first_tag, held_back


class Run(NamedTuple):
    """A part of the answer, in the order it was generated.

    Attributes:
        text: As the model wrote it.
        markup: Whether it belongs to blocks, and not to the content.
        calls: The calls of the block that ends here.
    """

    text: str
    markup: bool = False
    calls: tuple[ToolCall, ...] = ()


class ToolCallReader:
    """Incremental reader: the runs' contents and calls do not depend on how the text was cut.

    A block ends at the next tag, whichever it is, or with the output. White space that stands alone before, between
    or after blocks is markup, and so is a closing tag without a block.

    Args:
        names: The tools there are.
        open_tag: What begins a block.
        close_tag: What ends it.
    """

    def __init__(self, names: Collection[str], open_tag: str, close_tag: str) -> None:
        self._names = frozenset(names)
        self._open_tag = open_tag
        self._tags = (open_tag, close_tag)
        self._window = max(map(len, self._tags)) - 1  # of seen text, in which a tag may have begun
        self._in_block = False
        self._met_tag = False
        self._held = ""
        # Of the block so far: its text, and the end of that.
        self._block: list[str] = []
        self._tail = ""
        # White space at the beginning of a stretch of content, which is markup if nothing but a tag follows.
        self._blank: list[str] = []
        self._in_content = False
        # The end of the content, if it is the beginning of a tag.
        self._seam = ""

    def feed(self, text: str) -> list[Run]:
        """Take more of the answer and return what is certain now."""
        self._held += text
        runs: list[Run] = []
        while self._held and (run := self._read_block() if self._in_block else self._read_text()) is not None:
            runs.append(run)
        return runs

    def flush(self) -> list[Run]:
        """Return what was held back; the output has ended."""
        if self._in_block:
            return [Run("", markup=True, calls=self._end_block(""))]
        text = self._with_blank(self._take(len(self._held)))
        return [Run(text, markup=self._met_tag and not text.strip())] if text else []

    def _read_block(self) -> Run | None:
        text = self._held
        at, tag = first_tag(self._tail + text, self._tags)
        if not tag:
            self._block.append(text)
            self._tail = (self._tail + text)[-self._window :]
            self._held = ""
            return Run(text, markup=True)
        text = self._take(at + len(tag) - len(self._tail))
        self._in_block = tag == self._open_tag
        return Run(text, markup=True, calls=self._end_block(text, tag))

    def _end_block(self, text: str, tag: str = "") -> tuple[ToolCall, ...]:
        block = ("".join(self._block) + text).removesuffix(tag)
        self._block.clear()
        self._tail = ""
        return read_calls(block, self._names)

    def _read_text(self) -> Run | None:
        # What stands on the two sides of a block must not come together to a tag either.
        seam = "" if self._blank else self._seam
        view = seam + self._held
        at, tag = first_tag(view, self._tags)
        certain = at if tag else len(view) - held_back(view, self._tags)
        if certain > len(seam):
            text = self._take(certain - len(seam))
            if not self._in_content and text.isspace():
                self._blank.append(text)
                return self._read_text() if self._held else None
            self._in_content = True
            self._seam = view[certain - held_back(view[:certain], self._tags) : certain]
            return Run(self._with_blank(text))
        if not tag:
            return None
        self._met_tag = True
        self._in_content = False
        self._in_block = tag == self._open_tag and at >= len(seam)
        return Run(self._with_blank(self._take(at + len(tag) - len(seam))), markup=True)

    def _take(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _with_blank(self, text: str) -> str:
        if self._blank:
            text = "".join(self._blank) + text
            self._blank.clear()
        return text
