"""One stream's way from token ids to the fields a caller reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from nemotron_serving.output.call_syntax import ToolCall, ToolCallError
from nemotron_serving.output.detokenizer import Detokenizer, Vocabulary
from nemotron_serving.output.reasoning import Piece, ReasoningSplitter, Start
from nemotron_serving.output.stop import StopMatcher
from nemotron_serving.output.tool_calls import Run, ToolCallReader


class ToolRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model calls tools, and which there are.

    Attributes:
        names: Names of the tools; a call of any other is content.
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
        prompt: What text_output begins with: the prompt, for a caller that wants it back.
        package: The name of the package that answers, which the first response says.
    """

    start: Start = "detect"
    stop_words: tuple[str, ...] = ()
    tools: ToolRules | None = None
    prompt: str = ""
    package: str = ""


class OutputDelta(NamedTuple):
    """New text: as the model wrote it, and as the fields that it was split into; and the calls it completed.

    The error is of the first call of the answer that could not be read, if it is in this text, which is content then.
    """

    text: str
    reasoning_content: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_error: ToolCallError | None = None

    def joined(self, later: OutputDelta) -> OutputDelta:
        """This delta and the one after it as one."""
        return OutputDelta(
            self.text + later.text,
            self.reasoning_content + later.reasoning_content,
            self.content + later.content,
            self.tool_calls + later.tool_calls,
            self.tool_call_error or later.tool_call_error,
        )


class Assembler:
    """Feeds ids through detokenizer, reasoning splitter, tool-call reader and stop matcher.

    The same ids give the same concatenated fields however they are cut into calls.
    """

    def __init__(self, vocabulary: Vocabulary, rules: OutputRules) -> None:
        tools = rules.tools
        self._detokenizer = Detokenizer(vocabulary)
        self._splitter = (
            ReasoningSplitter(rules.start, tools.open_tag, tool_ends_thinking=tools.ends_thinking)
            if tools
            else ReasoningSplitter(rules.start)
        )
        self._tools = ToolCallReader(tools.names, tools.open_tag, tools.close_tag) if tools else None
        self._stop = StopMatcher(rules.stop_words)
        self._reasoning_tokens = _ReasoningTokens()
        self._num_calls = 0
        self._num_unread = 0

    @property
    def has_tool_calls(self) -> bool:
        """Whether a tool call was read so far."""
        return self._num_calls > 0

    @property
    def thinking(self) -> bool:
        """Whether the output so far ends inside thinking."""
        return self._splitter.thinking

    @property
    def undecided(self) -> bool:
        """Whether all of the output so far is held back: it may turn out to be thinking or the answer."""
        return self._splitter.undecided

    @property
    def after_thinking(self) -> str:
        """What stands behind the thinking in the token that ended it: text after the tag, or a tool call's tag."""
        return self._splitter.after_thinking

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
        """Take more output tokens and return the text and the calls that are certain now."""
        delta = _Delta()
        for index in ids:
            text = self._detokenizer.feed(index)
            self._reasoning_tokens.token(len(text))
            if text:
                self._sort(self._splitter.feed(text), delta)
        return delta.whole()

    def flush(self) -> OutputDelta:
        """Return what was held back; the output has ended."""
        delta = _Delta()
        self._sort(self._splitter.feed(self._detokenizer.flush()) + self._splitter.flush(), delta)
        if self._tools is not None:
            self._answer(self._tools.flush(), delta)
        delta.add_content(self._stop.flush())
        return delta.whole()

    def _sort(self, pieces: list[Piece], delta: _Delta) -> None:
        for piece in pieces:
            self._reasoning_tokens.piece(piece)
            if not piece.content:
                delta.text.append(piece.raw)
                delta.reasoning.append(piece.reasoning)
            elif self._tools is None:
                delta.add_content(self._stop.feed(piece.content))
            else:
                self._answer(self._tools.feed(piece.content), delta)

    def _answer(self, runs: list[Run], delta: _Delta) -> None:
        for run in runs:
            # No stop string reaches across a block: what was held back for one is decided before it.
            delta.add_content(self._stop.flush() if run.markup else self._stop.feed(run.text))
            if run.markup and not self.stopped:
                delta.text.append(run.text)
                delta.content.append(run.unread_text)
                delta.tool_calls += run.calls
                if run.unread and not self._num_unread:
                    first = run.unread[0]
                    delta.tool_call_error = msgspec.structs.replace(first, index=self._num_calls + first.index)
                self._num_calls += len(run.calls)
                self._num_unread += len(run.unread)


class _Delta:
    """An OutputDelta in the making."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.content: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.tool_call_error: ToolCallError | None = None

    def add_content(self, text: str) -> None:
        self.text.append(text)
        self.content.append(text)

    def whole(self) -> OutputDelta:
        text, reasoning, content = ("".join(parts) for parts in (self.text, self.reasoning, self.content))
        return OutputDelta(text, reasoning, content, tuple(self.tool_calls), self.tool_call_error)


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
