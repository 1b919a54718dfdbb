"""An answer while it grows: the lines it becomes, what of its Markdown is finished, the part of the screen it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax

Render = Callable[[str, int], list[str]]
"""The lines that a text becomes in so many columns."""


class Flow:
    """One growing text.

    A part that has grown taller than the screen gives its upper lines away before it is finished; it then keeps the
    width it had, for its remaining lines to follow on.
    """

    def __init__(self, render: Render, finished_length: Callable[[str], int], *, gap: bool) -> None:
        """Begin with no text.

        Args:
            render: Makes the lines.
            finished_length: How much of a text is finished for good.
            gap: Whether a blank line stands between finished parts.
        """
        self._render = render
        self._finished_length = finished_length
        self._gap = gap
        self._pending = ""
        self._given = 0
        self._width = 0
        self._begun = False

    def add(self, text: str) -> None:
        """The text grows."""
        self._pending += text

    def lines(self, width: int, tail_lines: int) -> tuple[list[str], list[str]]:
        """What there is to show.

        Args:
            width: Columns of the screen.
            tail_lines: How many lines may change later.

        Returns:
            The lines that were finished since the last call, and the tail.
        """
        done: list[str] = []
        if length := self._finished_length(self._pending):
            done, self._pending = self._finish(self._pending[:length], width), self._pending[length:]
        tail = self._new_lines(self._pending, width)
        if (over := len(tail) - tail_lines) > 0:
            if not self._given:
                self._width = width
            self._given += over
            done, tail = done + tail[:over], tail[over:]
        return done, tail

    def end(self, width: int) -> list[str]:
        """The lines of all that is left."""
        left, self._pending = self._pending, ""
        return self._finish(left, width)

    def _finish(self, text: str, width: int) -> list[str]:
        lines = self._new_lines(text, width)
        self._begun = self._begun or bool(lines) or self._given > 0
        self._given = 0
        return lines

    def _new_lines(self, text: str, width: int) -> list[str]:
        """The lines of the next part, after the blank one that separates it, without those that were given away."""
        lines = self._render(text, self._width if self._given else width)
        if lines and self._gap and self._begun:
            lines = ["", *lines]
        return lines[self._given :]


# Without what rich would leave out, so that it is shown as written: HTML, the addresses of images, and those of
# links that stand in a place of their own, for which there would be nothing to print when that place comes.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable(["image", "reference"])
_ENDED_BY_BLANK = ("paragraph_open", "heading_open", "table_open")
_CODE_THEME = "ansi_dark"  # the terminal's own colours on its own background


def finished_length(text: str) -> int:
    """How much of a text is blocks that no further text can change.

    Every block but the last one. A line that has not ended begins no block, for its next character may turn it into
    something else; but after a blank line it leaves a paragraph, whatever it becomes.
    """
    lines_end = text.rfind("\n") + 1
    blocks = [(token.type, token.map[0]) for token in _PARSER.parse(text[:lines_end]) if token.level == 0 and token.map]
    if not blocks:
        return 0
    kind, first_line = blocks[-1]
    if kind in _ENDED_BY_BLANK and text[:lines_end].endswith("\n\n"):
        return lines_end
    return sum(len(line) + 1 for line in text.split("\n")[:first_line])


class AnswerMarkdown(Markdown):
    """Markdown that leaves nothing of the text out, keeps its line breaks and writes links out."""

    def __init__(self, text: str) -> None:
        """Parse a text that is safe already."""
        super().__init__("", hyperlinks=False, code_theme=_CODE_THEME)
        self.parsed = _PARSER.parse(text)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


class _Code(CodeBlock):
    """Code without a frame or a background, so that it can be copied."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        yield Syntax(code, self.lexer_name, theme=self.theme, word_wrap=True, padding=(0, 0, 0, 2))


class _LeftHeading(Heading):
    LEVEL_ALIGN: ClassVar = {}


_OURS: dict[str, type[MarkdownElement]] = {"fence": _Code, "code_block": _Code, "heading_open": _LeftHeading}
AnswerMarkdown.elements = Markdown.elements | _OURS


_BEGIN_UPDATE, _END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"  # terminals that know it draw all at once
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
# From the second column on: tmux takes what is erased from the screen's first corner for a page to keep.
_ERASE_BELOW = "\r \x1b[J\r"


class LiveRegion:
    """Lines that are drawn anew each time.

    The cursor rests at the region's first column, where a terminal keeps it when it is resized and wraps its lines
    anew: so the next frame begins in the right place, which counting lines would not find. Lines of the region are
    clipped, never wrapped, for the width of some characters is only the terminal's to know.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._shown: list[str] = []

    def draw(self, done: list[str], tail: list[str]) -> None:
        """Print lines for good, and show others below them.

        Args:
            done: Printed, and scrolled away with the rest.
            tail: Lines in place of the region's lines so far. They have to fit the height of the screen.
        """
        if not done and tail == self._shown:
            return
        parts = [_BEGIN_UPDATE, _HIDE_CURSOR, _ERASE_BELOW, *(f"{line}\n" for line in done)]
        if tail:
            parts += [_NO_WRAP, "\n".join(tail), _WRAP, "\r"]
            if len(tail) > 1:
                parts.append(f"\x1b[{len(tail) - 1}A")
        else:
            parts.append(_SHOW_CURSOR)
        parts.append(_END_UPDATE)
        self._shown = tail
        self._file.write("".join(parts))
        self._file.flush()
