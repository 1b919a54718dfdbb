"""What is drawn: answers while they come, in terminals of many sizes."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from nemotron_client import ToolCall
from nemotron_client.chat.screen import AnswerView, Screen
from tests.unit.client.chat.terminal import Terminal

LONG = (
    "# Title\n\nSome text that is wrapped where the terminal is narrow, for it is long.\n\n```python\n"
    + "".join(f"line_{number} = {number}\n" for number in range(50))
    + "```\n\n"
    + "".join(f"{number}. item {number}\n" for number in range(1, 41))
    + "\nThe end.\n"
)


def screen_on(terminal: Terminal, *, frame_s: float = 1.0, **options: object) -> Screen:
    """A screen whose clock goes on with each look at it: at 1 s every call draws."""
    ticks = itertools.count()
    console = Console(
        file=terminal,
        force_terminal=True,
        color_system="standard",
        width=terminal.width,
        height=terminal.height,
        **options,  # type: ignore[arg-type]
    )
    return Screen(console, live=True, clock=lambda: next(ticks) * frame_s)


def write(view: AnswerView, text: str, size: int = 7) -> None:
    for begin in range(0, len(text), size):
        view.content(text[begin : begin + size])


def tick(view: AnswerView) -> None:
    """Let so much time pass that all is drawn."""
    for _ in range(10):
        view.tick()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 6), (200, 200)])
def test_a_long_answer_is_whole_and_there_once(width: int, height: int) -> None:
    terminal = Terminal(width, height)
    view = screen_on(terminal).answer()
    write(view, LONG)
    view.end()
    lines = terminal.everything
    for number in range(50):
        assert sum(line.strip() == f"line_{number} = {number}" for line in lines) == 1
    for number in range(1, 41):
        assert sum(line.split() == [str(number), "item", str(number)] for line in lines) == 1
    assert " ".join(" ".join(lines).split()).startswith("Title Some text that is wrapped where the terminal is narrow,")
    assert lines[-2:] == ["The end.", ""]
    assert terminal.cursor_shown


def test_what_streams_ends_as_what_is_printed_at_once() -> None:
    streamed, whole = Terminal(60, 12), Terminal(60, 12)
    for terminal, size in ((streamed, 1), (whole, len(LONG))):
        view = screen_on(terminal).answer()
        write(view, LONG, size)
        view.end()
    assert streamed.everything == whole.everything


def test_only_the_unfinished_tail_is_drawn_anew() -> None:
    terminal = Terminal(60, 30)
    view = screen_on(terminal).answer()
    write(view, "One.\n\nTwo.\n\nThr")
    tick(view)
    written: list[str] = []
    terminal.write = written.append  # type: ignore[assignment, method-assign]
    view.content("ee")
    tick(view)
    assert "Three" in "".join(written)
    assert "One" not in "".join(written)
    assert "Two" not in "".join(written)


def test_a_table_and_a_quotation() -> None:
    terminal = Terminal(40, 20)
    view = screen_on(terminal).answer()
    write(view, "| a | b |\n|---|--:|\n| 1 | 20 |\n\n> so\n> it is\n")
    view.end()
    assert [line.split() for line in terminal.everything if "──" not in line] == [
        ["a", "b"],
        ["1", "20"],
        [],
        ["▌", "so"],
        ["▌", "it", "is"],
        [],
    ]


def test_thinking_is_shown_while_it_lasts_and_folded_when_it_ends() -> None:
    terminal = Terminal(60, 20)
    view = screen_on(terminal, frame_s=0.5).answer()
    for number in range(20):
        view.reasoning(f"Thought number {number}.\n", 5 * number)
    tick(view)
    assert terminal.rows[0].startswith("▸ thinking … ")
    assert terminal.rows[0].endswith(" s, 95 tokens (Ctrl-N: answer now)")
    assert terminal.rows[-1] == "Thought number 19."
    assert len(terminal.rows) <= 6
    view.content("So it is.")
    view.end()
    lines = terminal.everything
    assert lines[0].startswith("▸ thought for ")
    assert lines[1:] == ["", "So it is.", ""]


def test_thinking_can_be_left_in_full() -> None:
    terminal = Terminal(60, 8)
    screen = screen_on(terminal)
    screen.fold = False
    view = screen.answer()
    for number in range(20):
        view.reasoning(f"Thought {number}.\n\n", number)
    view.end()
    lines = terminal.everything
    assert [line for line in lines if line.startswith("Thought")] == [f"Thought {number}." for number in range(20)]
    assert lines[-2].startswith("▸ thought for ")


def test_an_answer_that_never_came_leaves_nothing() -> None:
    terminal = Terminal(60, 8)
    view = screen_on(terminal).answer()
    view.tick()
    assert terminal.rows[0].startswith("waiting … ")
    view.end()
    assert terminal.everything == [""]
    assert terminal.cursor_shown


def test_calls_are_shown_harmless() -> None:
    terminal = Terminal(60, 8)
    view = screen_on(terminal).answer()
    view.content("Let me look.")
    view.tool_call(ToolCall("id", "f\x1b[2J", '{"a": "\x1b]0;x\x07"}'))
    view.end()
    assert terminal.everything == [
        "Let me look.",
        r'The model calls f\x1b[2J({"a": "\x1b]0;x\x07"})',
        "",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Use <b>bold</b>, <kbd>x</kbd> and </kbd>.",
        "<div>\nnot HTML\n</div>",
        "![picture](https://example.com/p.png)",
        "[text](https://example.com/)",
        "See [this][1].\n\n[1]: https://example.com/",
        "one\ntwo",
    ],
)
def test_nothing_of_the_text_is_left_out(text: str) -> None:
    terminal = Terminal(100, 20)
    view = screen_on(terminal).answer()
    view.content(text)
    view.end()
    shown = "\n".join(terminal.everything)
    for word in ("bold", "<kbd>", "<div>", "picture", "https://example.com/p.png", "https://example.com/"):
        assert (word in shown) is (word in text)
    if text == "one\ntwo":
        assert terminal.everything == ["one", "two", ""]


@pytest.mark.parametrize("sign", ["&#27;[31m", "&#x202e;abc", "&#x9b;2J", "&#13;over", "&#7;"])
def test_entities_do_not_bring_control_characters_back(sign: str) -> None:
    terminal = Terminal(60, 8)
    view = screen_on(terminal).answer()
    view.content(f"{sign} and `{sign}`, [{sign}](http://x/{sign})")
    view.end()  # the terminal refuses what it must not get
    assert not set("\x1b\u202e\x9b\r\x07") & set("".join(terminal.everything))


class Strict(io.StringIO):
    """A terminal that must not get anything but the chat's own codes and printable text."""

    encoding = "utf-8"


MARKDOWN = st.text(st.sampled_from("ab *_`#>-|\n\t[]()!<>&;:~\\1.\x1b\r\x9b\u202eกि👩\u200d"), max_size=80)


@settings(max_examples=150, deadline=None)
@given(st.lists(MARKDOWN | st.text(max_size=20), max_size=6))
def test_any_text_is_drawn_without_a_control_character(parts: list[str]) -> None:
    terminal = Strict()
    ticks = itertools.count()
    console = Console(file=terminal, force_terminal=True, color_system=None, width=30, height=8)
    view = Screen(console, live=True, clock=lambda: float(next(ticks))).answer()
    for part in parts:
        view.reasoning(part, 1)
    for part in parts:
        view.content(part)
    view.end()
    rest = terminal.getvalue()
    for ours in (r"\x1b\[\?7h\r(\x1b\[\dA)?", r"\r \x1b\[J\r", r"\x1b\[\?(2026|25|7)[hl]"):
        rest = re.sub(ours, "", rest)
    assert not set("\x1b\x9b\u202e\r") & set(rest)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("xyz *_#>-\n\t[]!<>\\1.=+"), max_size=100))
def test_every_letter_is_printed_once_and_in_its_place(text: str) -> None:
    file = Strict()
    clock = itertools.chain([1.0], itertools.repeat(0.0))  # no frame is due, so only what stays is printed
    console = Console(file=file, width=500, height=50, force_terminal=True, color_system=None)
    view = Screen(console, live=True, clock=lambda: next(clock)).answer()
    write(view, text, 5)
    view.end()
    assert re.findall("[xyz]", file.getvalue()) == re.findall("[xyz]", text)


def test_thai_hindi_and_emoji_stay_whole() -> None:
    text = "สวัสดีครับ नमस्ते 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽"
    file = Strict()
    screen = Screen(Console(file=file, force_terminal=True, width=80, height=20, color_system=None), live=True)
    view = screen.answer()
    for character in text:
        view.content(character)
    view.end()
    assert f"{text}\n" in file.getvalue()


class Latin(io.StringIO):
    encoding = "ascii"


def test_a_terminal_without_utf8() -> None:
    file = Latin()
    screen = Screen(Console(file=file, force_terminal=True, width=80, height=20, color_system=None), live=True)
    view = screen.answer()
    view.reasoning("Hm.", 2)
    view.content("- ไทย\n- “two”\n")
    view.end()
    screen.say("…")
    shown = file.getvalue()
    shown.encode("ascii")
    assert " * ???" in shown
    assert ' * "two"' in shown


def test_without_a_terminal_the_answer_is_plain() -> None:
    file = io.StringIO()
    view = Screen(Console(file=file, width=80), live=False).answer()
    view.reasoning("Hm.", 2)
    view.tick()
    for part in ("# Ti", "tle\r", "\n\x1b[31m", "two"):
        view.content(part)
    view.end()
    assert file.getvalue() == "# Title\n\\x1b[31mtwo\n"


def test_no_color_leaves_colours_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    file = Strict()
    screen = Screen(Console(file=file, force_terminal=True, color_system="standard", width=80), live=True)
    screen.complain("wrong")
    view = screen.answer()
    view.content("```python\nreturn 'x'\n```\n`code`\n")
    view.end()
    assert "\x1b[3" not in file.getvalue().replace("\x1b[3m", "")
    assert "38;5" not in file.getvalue()


def test_a_renderer_that_fails_ends_no_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(60, 8)
    screen = screen_on(terminal)

    class Broken(Text):
        def __rich_console__(self, *_: object) -> None:  # type: ignore[override]
            raise RuntimeError

    monkeypatch.setattr("nemotron_client.chat.screen.AnswerMarkdown", Broken)
    view = screen.answer()
    view.content("*As written*")
    view.end()
    assert terminal.everything == ["*As written*", ""]
