"""The chat itself: asks the user, answers, and goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output

from nemotron_client._client import Client
from nemotron_client._types import ContentDelta, ReasoningDelta, ServerInfo, ToolCallDelta
from nemotron_client.chat import commands
from nemotron_client.chat.answering import Asking
from nemotron_client.chat.commands import COMMANDS, is_command
from nemotron_client.chat.safe_text import safe_line
from nemotron_client.chat.screen import Screen
from nemotron_client.chat.session import ChatError, Session, finish_note


class Interactive:
    """A chat with a user at a terminal."""

    def __init__(self, client: Client, session: Session, screen: Screen, prompt: Prompt) -> None:
        self._client = client
        self._session = session
        self._screen = screen
        self._prompt = prompt
        self._chat = commands.Chat(session, screen)

    def run(self) -> None:
        """Chat until the user leaves.

        Raises:
            NemotronError: there is no server to chat with.
        """
        found = self._client.server_info()
        self._screen.say(safe_line(_server_line(found)))
        settings = self._session.settings.describe(found.model)
        self._screen.say(f"{settings[0].upper()}{settings[1:]}. /help lists the commands.")
        # One Ctrl-C or Ctrl-N too many, after an answer has ended, must not end the chat.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
        try:
            self._chat_on()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _chat_on(self) -> None:
        while True:
            try:
                text = self._prompt.question()
            except KeyboardInterrupt:
                self._screen.say("Ctrl-D or /quit leaves.")
                continue
            except EOFError:
                return
            if not text.strip():
                continue
            if self._do(text) is commands.Next.QUIT:
                return

    def _do(self, text: str) -> commands.Next:
        try:
            if not commands.is_command(text):
                self._session.ask(text.removeprefix("/") if text.startswith("//") else text.strip())
                after = commands.Next.ASK
            else:
                after = commands.run(self._chat, text)
            if after is commands.Next.ASK:
                self._answer()
        except (ChatError, TypeError, ValueError) as error:
            self._screen.complain(safe_line(str(error)))
            return commands.Next.PROMPT
        return after

    def _answer(self) -> None:
        """Get the answer, and the next ones as long as tools are called."""
        if self._session.open_calls() and not self._ask_for_results():
            return
        while self._one_answer():
            if not self._session.open_calls() or not self._ask_for_results():
                return

    def _one_answer(self) -> bool:
        """Whether the answer came."""
        asking = Asking(self._client, self._session)
        view = self._screen.answer()
        with _answering_keys():
            try:
                for event in asking.events():
                    if isinstance(event, ReasoningDelta):
                        view.reasoning(event.text, asking.reasoning_tokens)
                    elif isinstance(event, ContentDelta):
                        view.content(event.text)
                    elif isinstance(event, ToolCallDelta):
                        view.tool_call(event.call)
                    elif event is None:
                        view.tick()
            finally:
                view.end()
        if asking.error is not None:
            self._screen.complain(str(asking.error))
            self._screen.say("The question has no answer: /retry asks it again, another one takes its place.")
            return False
        self._session.answered(asking.answer)
        self._tell_end(asking)
        if not self._session.open_calls():
            self._screen.show("")
        return not asking.interrupted

    def _tell_end(self, asking: Asking) -> None:
        reply = asking.answer.reply
        note = "cancelled" if asking.interrupted else finish_note(reply.finish_reason) if reply else ""
        if note and self._session.unanswered:
            note += "; the question has no answer: /retry asks it again, another one takes its place"
        if note:
            self._screen.say(f"({note})")
        if reply and reply.tool_call_error:
            self._screen.say(f"(a tool call could not be read: {safe_line(reply.tool_call_error.reason)})")

    def _ask_for_results(self) -> bool:
        """Ask the user what the functions returned; whether all results were given."""
        for call in self._session.open_calls():
            try:
                result = self._prompt.tool_result(str(call["function"]["name"]))
            except (KeyboardInterrupt, EOFError):
                self._screen.say("The call has no result: /retry asks again, another question takes its place.")
                return False
            self._session.tool_result(call["id"], result)
        return True


def _server_line(found: ServerInfo) -> str:
    model = found.model
    if model is None:
        return f"{found.url}: the server does not say which model it serves."
    engine = f"{model.precision}, {model.engine} on {model.device}"
    return f"{found.url}: {model.name} ({engine}), at most {model.max_seq_len:,} tokens with the prompt."


@contextlib.contextmanager
def _answering_keys() -> Iterator[None]:
    """What is typed while an answer comes is not shown in its midst; the next prompt has it. Ctrl-N sends SIGQUIT."""
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    quiet = before[:]
    quiet[3] = before[3] & ~termios.ECHO
    quiet[6] = [*before[6]]
    quiet[6][termios.VQUIT] = _ANSWER_NOW
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


_MENU_LINES = 6
_ANSWER_NOW = b"\x0e"  # Ctrl-N


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
