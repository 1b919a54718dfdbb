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


class _Block:
    """What is known of a block of calls that has not ended.

    Attributes:
        given: Its text that was given out.
        tail: The end of its text, if a tag or an escape may have begun there.
        in_string: Whether a JSON string is open.
        tag_in_string: The first tag that stood in a string; empty while there is none.
        doubtful: What came after that tag, and may not belong to the block.
    """

    def __init__(self) -> None:
        self.given: list[str] = []
        self.tail = ""
        self.in_string = False
        self.tag_in_string = ""
        self.doubtful: list[str] = []


class _Between:
    """What is known of a stretch of content before, between or after blocks.

    Attributes:
        blank: White space at its beginning, which is markup if nothing but a tag follows.
        begun: Whether anything else has come.
    """

    def __init__(self) -> None:
        self.blank: list[str] = []
        self.begun = False

    def with_blank(self, text: str) -> str:
        text = "".join((*self.blank, text))
        self.blank.clear()
        return text


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
        self._place: _Block | _Between = _Between()
        self._held = ""  # what was fed and is in no run, nor part of the place
        self._met_tag = False
        self._seam = ""  # the end of the content, if it is the beginning of a tag

    def feed(self, text: str) -> list[Run]:
        """Take more of the answer and return what is certain now."""
        runs: list[Run] = []
        for at in range(0, len(text), _PIECE):
            self._held += text[at : at + _PIECE]
            while self._held and (run := self._read()) is not None:
                runs.append(run)
        return runs

    def flush(self) -> list[Run]:
        """Return what was held back; the output has ended."""
        runs: list[Run] = []
        if isinstance(self._place, _Block) and self._place.tag_in_string:
            runs = self._end_at_tag_in_string(self._place)
        if isinstance(self._place, _Block):
            return [*runs, self._end(self._place)]
        text = self._place.with_blank(self._take(len(self._held)))
        return [*runs, Run(text, markup=self._met_tag and not text.strip())] if text else runs

    def _read(self) -> Run | None:
        place = self._place
        return self._read_block(place) if isinstance(place, _Block) else self._read_content(place)

    def _read_block(self, block: _Block) -> Run | None:
        view, seen, at = block.tail + self._held, len(block.tail), 0
        block.tail = ""
        while found := (self._inside_string if block.in_string else self._outside_string).search(view, at):
            at = found.end()
            match found.lastgroup:
                case "tag" if not block.in_string:
                    return self._end(block, self._take(at - seen), found[0])
                case "tag" if not block.tag_in_string:
                    block.tag_in_string = found[0]
                    block.given.append(self._take(at - seen))
                    return Run(block.given[-1], markup=True)
                case "quote":
                    block.in_string = not block.in_string
                case "begun" | "backslash":
                    block.tail = found[0]
        text = self._take(len(self._held))
        if block.tag_in_string:
            block.doubtful.append(text)
            return None
        block.given.append(text)
        return Run(text, markup=True)

    def _end(self, block: _Block, text: str = "", tag: str = "") -> Run:
        """End a block with what else belongs to it, the tag included; without one the output has ended."""
        text = "".join((*block.doubtful, text))
        inside = "".join((*block.given, text)).removesuffix(tag)
        if not tag:  # perhaps inside the closing tag
            inside = inside[: len(inside) - held_back(inside, self._tags)]
        self._place = self._after(tag)
        calls, unread = read_calls(inside, self._names)
        unread_text = self._as_content("\n".join(one.text for one in unread)) if unread else ""
        return Run(text, True, calls, unread, unread_text)

    def _end_at_tag_in_string(self, block: _Block) -> list[Run]:
        """End a block at the first tag inside a string, and read what follows."""
        text = "".join(block.doubtful)
        block.doubtful.clear()
        self._outside_string = re.compile(_tag_pattern(self._tags))
        return [self._end(block, tag=block.tag_in_string), *self.feed(text)]

    def _read_content(self, between: _Between) -> Run | None:
        # What stands on the two sides of a block must not come together to a tag either.
        seam = "" if between.blank else self._seam
        view = seam + self._held
        at, tag = first_tag(view, self._tags)
        certain = at if tag else len(view) - held_back(view, self._tags)
        if certain > len(seam):
            text = self._take(certain - len(seam))
            if not between.begun and text.isspace():
                between.blank.append(text)
                return self._read_content(between) if self._held else None
            between.begun = True
            self._seam = view[certain - held_back(view[:certain], self._tags) : certain]
            return Run(between.with_blank(text))
        if not tag:
            return None
        self._met_tag = True
        self._place = self._after(tag) if at >= len(seam) else _Between()
        return Run(between.with_blank(self._take(at + len(tag) - len(seam))), markup=True)

    def _after(self, tag: str) -> _Block | _Between:
        return _Block() if tag == self._open_tag else _Between()

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

    def _take(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
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
