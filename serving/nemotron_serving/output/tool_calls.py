"""Find the blocks of tool calls in an answer, and keep their markers out of its content."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from nemotron_serving.output.call_syntax import ToolCall, ToolCallError, read_calls
from nemotron_serving.output.tags import first_tag, held_back

# Characters that are read at once. At every tag, what is left of them is copied.
_PIECE = 1024


class Run(NamedTuple):
    """A part of the answer, in the order it was generated.

    Attributes:
        text: As the model wrote it.
        markup: Whether it belongs to blocks, and not to the content.
        calls: The calls of the block that ends here.
        unread: What else there is in that block.
        unread_text: The same as content: without tags, which never reach the content.
    """

    text: str
    markup: bool = False
    calls: tuple[ToolCall, ...] = ()
    unread: tuple[ToolCallError, ...] = ()
    unread_text: str = ""


class ToolCallReader:
    """Incremental reader: the runs' contents and calls do not depend on how the text was cut.

    A block ends at the next tag outside a JSON string, whichever it is, or with the output. White space that stands
    alone before, between or after blocks is markup, and so is a closing tag without a block.

    The model may have left a string open. So if the output ends in a block with tags inside strings, the first of these
    has ended the block after all, and in what follows tags count wherever they stand. What comes after such a tag is
    held back until that is known.

    Args:
        names: The tools there are.
        open_tag: What begins a block.
        close_tag: What ends it.
    """

    def __init__(self, names: Collection[str], open_tag: str, close_tag: str) -> None:
        self._names = frozenset(names)
        self._open_tag = open_tag
        self._tags = (open_tag, close_tag)
        self._outside_string, self._inside_string = _patterns(self._tags)
        self._any_tag = re.compile("|".join(map(re.escape, self._tags)))
        self._in_block = False
        self._met_tag = False
        self._held = ""
        # Of the block so far: its text, the end of it if a tag or an escape may have begun there, the first tag in a
        # string, and what came after that tag.
        self._block: list[str] = []
        self._tail = ""
        self._in_string = False
        self._passed_tag = ""
        self._doubtful: list[str] = []
        # White space at the beginning of a stretch of content, which is markup if nothing but a tag follows.
        self._blank: list[str] = []
        self._in_content = False
        # The end of the content, if it is the beginning of a tag.
        self._seam = ""

    def feed(self, text: str) -> list[Run]:
        """Take more of the answer and return what is certain now."""
        runs: list[Run] = []
        for at in range(0, len(text), _PIECE):
            self._held += text[at : at + _PIECE]
            while self._held and (run := self._read_block() if self._in_block else self._read_text()) is not None:
                runs.append(run)
        return runs

    def flush(self) -> list[Run]:
        """Return what was held back; the output has ended."""
        runs = self._read_doubtful() if self._passed_tag else []
        if self._in_block:
            return [*runs, self._end_block()]
        text = self._with_blank(self._take(len(self._held)))
        return [*runs, Run(text, markup=self._met_tag and not text.strip())] if text else runs

    def _read_block(self) -> Run | None:
        view, seen, at = self._tail + self._held, len(self._tail), 0
        self._tail = ""
        while found := (self._inside_string if self._in_string else self._outside_string).search(view, at):
            at = found.end()
            match found.lastgroup:
                case "tag" if not self._in_string:
                    return self._end_block(self._take(at - seen), found[0])
                case "tag" if not self._passed_tag:
                    self._passed_tag = found[0]
                    self._block.append(self._take(at - seen))
                    return Run(self._block[-1], markup=True)
                case "quote":
                    self._in_string = not self._in_string
                case "begun" | "backslash":
                    self._tail = found[0]
        text = self._take(len(self._held))
        (self._doubtful if self._passed_tag else self._block).append(text)
        return None if self._passed_tag else Run(text, markup=True)

    def _end_block(self, text: str = "", tag: str = "") -> Run:
        given_out = "".join(self._block)
        self._block.clear()
        text = "".join(self._doubtful) + text
        self._doubtful.clear()
        self._tail = self._passed_tag = ""
        self._in_string = False
        self._in_block = tag == self._open_tag
        block = (given_out + text).removesuffix(tag)
        if not tag:  # the output has ended, perhaps inside the closing tag
            block = block[: len(block) - held_back(block, self._tags)]
        calls, unread = read_calls(block, self._names)
        unread_text = self._as_content("\n".join(one.text for one in unread)) if unread else ""
        return Run(text, True, calls, unread, unread_text)

    def _as_content(self, text: str) -> str:
        """A text without tags, and without the ends of those that the content has begun."""
        kept: list[str] = []
        reach = max(map(len, self._tags)) - 1
        for piece in self._any_tag.split(text):
            begin = 0
            while tag := (found := first_tag(self._seam + piece[begin : begin + reach], self._tags))[1]:
                begin += found[0] + len(tag) - len(self._seam)
            kept.append(piece[begin:])
            end = self._seam + kept[-1][-reach:]
            self._seam = end[len(end) - held_back(end, self._tags) :]
        return "".join(kept)

    def _read_doubtful(self) -> list[Run]:
        """End the block at the first tag inside a string, and read what follows."""
        text = "".join(self._doubtful)
        self._doubtful.clear()
        self._outside_string = re.compile(_tag_pattern(self._tags))
        return [self._end_block(tag=self._passed_tag), *self.feed(text)]

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


def _patterns(tags: Collection[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What matters in a block, outside JSON strings and inside them."""
    outside = _tag_pattern(tags) + '|(?P<quote>")'
    # Of the escapes only these matter. A backslash hides no tag: the block may have to end there.
    return re.compile(outside), re.compile(outside + r'|\\[\\"]|(?P<backslash>\\\Z)')


def _tag_pattern(tags: Collection[str]) -> str:
    """A tag, or an end of the text that could be the beginning of one."""
    whole = "|".join(map(re.escape, tags))
    begun = "|".join(re.escape(tag[: end + 1]) for tag in tags for end in range(len(tag)))
    return rf"(?P<tag>{whole})|(?P<begun>(?:{begun})\Z)"
