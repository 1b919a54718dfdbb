"""Answers as Markdown: where a text may be cut while it is still written, and what it looks like."""

from __future__ import annotations

from typing import ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax

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
