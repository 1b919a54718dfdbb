"""What the chat shows: notices, and answers while they come. Everything passes through here made harmless."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from nemotron_client._types import ToolCall
from nemotron_client.chat.live_text import AnswerMarkdown, Flow, LiveRegion, finished_length
from nemotron_client.chat.safe_text import SafeStream, encodable, safe, safe_line

_FRAME_S = 0.08
_DRAWING_SHARE = 0.25  # of the time, at most, for long answers in slow terminals
_THINKING_LINES = 6


class Screen:
    """Where the chat is shown.

    Attributes:
        fold: Whether thinking is folded to one line when it has ended.
    """

    def __init__(self, console: Console, *, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Show on a console.

        Args:
            console: Whose width is asked for again with each line.
            live: Whether answers are drawn while they come, with Markdown: for terminals. Else they are plain text.
            clock: Seconds.
        """
        self.fold = True
        self.console = console
        self.live = live
        self.clock = clock

    def say(self, text: str) -> None:
        """A notice."""
        self._print(Text(safe(text), "dim"))

    def complain(self, text: str) -> None:
        """An error."""
        self._print(Text(safe(text), "red"))

    def show(self, text: str) -> None:
        """A text of the user's or of a command, as it is."""
        self._print(Text(safe(text)))

    def show_thinking(self, text: str) -> None:
        """A thinking in full."""
        self._print(Text(safe(text).strip("\n"), "dim italic"))

    def show_answer(self, text: str) -> None:
        """A whole answer."""
        self._print(AnswerMarkdown(safe(text)) if self.live else Text(safe(text)))

    def answer(self) -> AnswerView:
        """Begin to show an answer."""
        return AnswerView(self)

    def lines(self, what: RenderableType, width: int) -> list[str]:
        """What this becomes in so many columns, with the terminal's codes for colours."""
        options = self.console.options.update(width=max(width, 1), height=None)
        # Markdown may turn `&#x202e;` into what it stands for, so what is rendered is made harmless once more.
        return [self._encoded(line) for line in self.console.render_lines(what, options, pad=False)]

    def _print(self, what: RenderableType) -> None:
        for line in self.lines(what, self.console.width):
            self.console.file.write(f"{line}\n")
        self.console.file.flush()

    def _encoded(self, line: list[Segment]) -> str:
        encoding = self.console.encoding
        kept = [(encodable(safe_line(one.text), encoding), one.style) for one in line if not one.control]
        while kept and not _painted(kept[-1][1]):  # spaces at the end are in the way when text is copied
            text, style = kept.pop()
            if text.rstrip(" "):
                kept.append((text.rstrip(" "), style))
                break
        with self.console.capture() as captured:
            self.console.print(Segments([Segment(text, style) for text, style in kept]), end="", soft_wrap=True)
        return captured.get().rstrip("\n")


class AnswerView:
    """One answer on the screen. Call `end` when nothing more comes."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._region = LiveRegion(screen.console.file)
        self._begin = screen.clock()
        self._next_frame = self._begin
        self._reasoning = _Thinking(screen)
        self._text = SafeStream()
        self._flow = Flow(self._markdown, finished_length, gap=True)
        self._plain = ""

    def reasoning(self, text: str, tokens: int) -> None:
        """Thinking came, which makes so many tokens of it."""
        self._reasoning.add(text, tokens)
        self.tick()

    def content(self, text: str) -> None:
        """A part of the answer came."""
        if self._end_thinking() and self._screen.live:
            self._region.draw([""], [])
        self._write(self._text.made_safe(text))

    def tool_call(self, call: ToolCall) -> None:
        """A call came."""
        self._end_thinking()
        self._flush()
        self._screen.say(f"The model calls {safe_line(call.name)}({safe_line(call.arguments)})")

    def tick(self) -> None:
        """Draw, if it is time to."""
        now = self._screen.clock()
        if not self._screen.live or now < self._next_frame:
            return
        done, tail = self._frame(now)
        self._region.draw(done, tail)
        drawn = self._screen.clock()
        self._next_frame = drawn + max(_FRAME_S, (drawn - now) * (1 / _DRAWING_SHARE - 1))

    def end(self) -> None:
        """Print all that is left."""
        self._end_thinking()
        self._flush()

    def _write(self, text: str) -> None:
        if self._screen.live:
            self._flow.add(text)
            self.tick()
        else:
            self._plain = (self._plain + text)[-1:]
            self._screen.console.file.write(encodable(text, self._screen.console.encoding))
            self._screen.console.file.flush()

    def _flush(self) -> None:
        self._write(self._text.end())
        if self._screen.live:
            self._region.draw(self._flow.end(self._width), [])
        elif self._plain not in ("", "\n"):
            self._screen.console.file.write("\n")
        self._plain = ""

    def _end_thinking(self) -> bool:
        """Fold the thinking, if it is open."""
        if not self._reasoning.open:
            return False
        lines = self._reasoning.end(self._width)
        if self._screen.live:
            self._region.draw(lines, [])
        return True

    def _frame(self, now: float) -> tuple[list[str], list[str]]:
        height = max(self._screen.console.height - 2, 3)
        if self._reasoning.open:
            return self._reasoning.frame(self._width, min(height, _THINKING_LINES))
        done, tail = self._flow.lines(self._width, height)
        if not tail and self._reasoning.seconds is None:
            tail = self._screen.lines(Text(f"waiting … {now - self._begin:.1f} s", "dim"), self._width)
        return done, tail

    def _markdown(self, text: str, width: int) -> list[str]:
        try:
            lines = self._screen.lines(AnswerMarkdown(text), width)
        except Exception:  # a text that the renderer cannot take is shown as written, and ends no chat
            lines = self._screen.lines(Text(text), width)
        while lines and not lines[-1].strip():
            lines.pop()
        while lines and not lines[0].strip():
            lines.pop(0)
        return lines

    @property
    def _width(self) -> int:
        return self._screen.console.width


class _Thinking:
    """The thinking of an answer: its last lines while it goes on, then one line, or all of it."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._text = SafeStream()
        self._flow = Flow(self._render, lambda text: text.rfind("\n") + 1, gap=False)
        self._recent: list[str] = []  # lines that are finished but may have to be shown above the tail
        self._tokens = 0
        self._begin = 0.0
        self.open = False
        self.seconds: float | None = None

    def add(self, text: str, tokens: int) -> None:
        """More of it, and how many tokens there are by now."""
        if not self.open:
            self.open, self._begin = True, self._screen.clock()
        self._tokens = tokens
        self.seconds = self._screen.clock() - self._begin
        self._flow.add(self._text.made_safe(text))

    def frame(self, width: int, height: int) -> tuple[list[str], list[str]]:
        """The lines to print for good, and the tail."""
        self.seconds = self._screen.clock() - self._begin
        done, tail = self._flow.lines(width, height - 1)
        head = self._note(f"thinking … {self._counts()} (Ctrl-N: answer now)", width)
        if not self._screen.fold:
            return done, [*tail, *head]
        self._recent = [*self._recent, *done][-height:]
        return [], [*head, *[*self._recent, *tail][1 - height :]]

    def end(self, width: int) -> list[str]:
        """The lines that stay."""
        self.open = False
        self._flow.add(self._text.end())
        rest = self._flow.end(width)
        return [*([] if self._screen.fold else rest), *self._note(f"thought for {self._counts()}", width)]

    def _counts(self) -> str:
        return f"{self.seconds or 0:.1f} s, {self._tokens} token{'' if self._tokens == 1 else 's'}"

    def _note(self, text: str, width: int) -> list[str]:
        return self._screen.lines(Text(f"▸ {text}", "dim"), width)

    def _render(self, text: str, width: int) -> list[str]:
        return self._screen.lines(Text(text.removesuffix("\n"), "dim italic"), width) if text else []


def _painted(style: Style | None) -> bool:
    """Whether spaces of this style can be seen."""
    if style is None:
        return False
    background = style.bgcolor is not None and not style.bgcolor.is_default
    return background or bool(style.underline) or bool(style.reverse)
