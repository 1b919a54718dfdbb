"""One stream's way from token ids to the fields a caller reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from nemotron_serving.output.detokenizer import Detokenizer, Vocabulary
from nemotron_serving.output.reasoning import Piece, ReasoningSplitter, Start
from nemotron_serving.output.stop import StopMatcher


class ToolRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model calls tools, and which there are.

    Attributes:
        names: Names of the tools; a call of any other is no call.
        open_tag: What begins a block of calls, such as `<TOOLCALL>`.
        close_tag: What ends it.
        ends_thinking: Whether `open_tag` inside thinking ends the thinking.
    """

    names: tuple[str, ...]
    open_tag: str
    close_tag: str
    ends_thinking: bool = True


class OutputRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request says about reading its output.

    Attributes:
        start: How the output begins.
        stop_words: Strings that end the answer. They do not apply to thinking.
        tools: How tool calls are read; None reads none.
    """

    start: Start = "detect"
    stop_words: tuple[str, ...] = ()
    tools: ToolRules | None = None


class OutputDelta(NamedTuple):
    """New text: as the model wrote it, and as the two fields that it was split into."""

    text: str
    reasoning_content: str
    content: str


class Assembler:
    """Feeds ids through detokenizer, reasoning splitter and stop matcher.

    The same ids give the same concatenated fields however they are cut into calls.
    """

    def __init__(self, vocabulary: Vocabulary, rules: OutputRules) -> None:
        self._detokenizer = Detokenizer(vocabulary)
        self._splitter = ReasoningSplitter(rules.start)
        self._stop = StopMatcher(rules.stop_words)
        self._reasoning_tokens = _ReasoningTokens()

    @property
    def thinking(self) -> bool:
        """Whether the output so far ends inside thinking."""
        return self._splitter.thinking

    @property
    def mid_character(self) -> bool:
        """Whether the last token left a character unfinished."""
        return self._detokenizer.mid_character

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer. Later ids change nothing."""
        return self._stop.stopped

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens that gave at least one character of reasoning_content so far."""
        return self._reasoning_tokens.count

    def feed(self, ids: Iterable[int]) -> OutputDelta:
        """Take more output tokens and return the text that is certain now."""
        pieces: list[Piece] = []
        for index in ids:
            text = self._detokenizer.feed(index)
            self._reasoning_tokens.token(len(text))
            if text:
                pieces += self._splitter.feed(text)
        return self._emit(pieces)

    def flush(self) -> OutputDelta:
        """Return what was held back; the output has ended."""
        pieces = self._splitter.feed(self._detokenizer.flush()) + self._splitter.flush()
        delta = self._emit(pieces)
        rest = self._stop.flush()
        return OutputDelta(delta.text + rest, delta.reasoning_content, delta.content + rest)

    def _emit(self, pieces: list[Piece]) -> OutputDelta:
        raw, reasoning, content = [], [], []
        for piece in pieces:
            self._reasoning_tokens.piece(piece)
            if piece.content:
                text = self._stop.feed(piece.content)
                raw.append(text)
                content.append(text)
            else:
                raw.append(piece.raw)
                reasoning.append(piece.reasoning)
        return OutputDelta("".join(raw), "".join(reasoning), "".join(content))


class _ReasoningTokens:
    """Counts the tokens whose text reached reasoning_content, by comparing character offsets in the raw text."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._fed = 0
        self._emitted = 0
        self._begin: int | None = None
        self._answering = False
        self.count = 0

    def token(self, length: int) -> None:
        if not self._answering:
            self._starts.append(self._fed)
        self._fed += length

    def piece(self, piece: Piece) -> None:
        if piece.reasoning:
            if self._begin is None:
                self._begin = self._emitted
            # The visible part of a piece stands at its beginning.
            end = bisect_left(self._starts, self._emitted + len(piece.reasoning))
            first = bisect_left(self._starts, self._begin)
            if first == len(self._starts) or self._starts[first] > self._begin:
                first -= 1
            self.count = end - first
        elif piece.content:
            self._answering = True
            self._starts.clear()
        self._emitted += len(piece.raw)
