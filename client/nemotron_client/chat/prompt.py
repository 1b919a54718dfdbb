"""Where the user types: several lines, a history, completion of commands."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output

from nemotron_client.chat.commands import COMMANDS, is_command
from nemotron_client.chat.safe_text import safe_line

_MENU_LINES = 6


class Prompt:
    """Asks the user. Ctrl-C raises KeyboardInterrupt, Ctrl-D on an empty line EOFError."""

    def __init__(self, history: Path | None = None) -> None:
        """Prepare.

        Args:
            history: The file that remembers questions; None remembers them until the end.
        """
        # With stdout redirected the prompt belongs on stderr.
        output = None if sys.stdout.isatty() else create_output(stdout=sys.stderr)
        self._questions: PromptSession[str] = self._session(opened_history(history) if history else None, output)
        self._results: PromptSession[str] = self._session(None, output)

    def question(self) -> str:
        """A question or a command."""
        return self._questions.prompt(
            FormattedText([("bold", "> ")]), completer=CommandCompleter(), complete_while_typing=True
        )

    def tool_result(self, name: str) -> str:
        """What a function returned."""
        return self._results.prompt(FormattedText([("bold", f"what {safe_line(name)} returns> ")]))

    def _session(self, history: History | None, output: object) -> PromptSession[str]:
        return PromptSession(
            history=history or InMemoryHistory(),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation="  ",
            reserve_space_for_menu=_MENU_LINES,
            output=output,  # type: ignore[arg-type]
        )


def history_path() -> Path:
    """The file that remembers questions: in $XDG_STATE_HOME, else in ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "nemotron-triton" / "chat_history"


def opened_history(path: Path) -> History:
    """The history in this file, which is made if need be, for its owner alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return _Quiet(str(path))


class _Quiet(FileHistory):
    """A full disk does not end the chat."""

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):
            super().store_string(string)


class CommandCompleter(Completer):
    """Completes commands and what stands behind them; leaves questions alone."""

    def __init__(self) -> None:
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """What may follow what was typed."""
        text = document.text_before_cursor
        if not is_command(text) or "\n" in text:
            return
        name, space, argument = text.partition(" ")
        if not space:
            for one in COMMANDS:
                if one.name.startswith(name):
                    yield Completion(one.name, -len(name), display=f"{one.name} {one.argument}", display_meta=one.help)
            return
        for one in COMMANDS:
            if one.name == name:
                yield from (Completion(word, -len(argument)) for word in one.choices if word.startswith(argument))
                if one.takes_file:
                    yield from self._files.get_completions(Document(argument), event)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-t")
    def _(event: KeyPressEvent) -> None:
        if not event.current_buffer.text:
            event.app.exit(result="/thinking")

    return keys
