"""The chat itself: asks, answers, and goes on."""

from __future__ import annotations

import contextlib
import signal
import sys
import termios
from collections.abc import Iterator

from nemotron_client._client import Client
from nemotron_client._types import ContentDelta, ReasoningDelta, ServerInfo, ToolCallDelta
from nemotron_client.chat import commands
from nemotron_client.chat.asking import Asking
from nemotron_client.chat.problems import ChatError, finish_note
from nemotron_client.chat.prompt import Prompt
from nemotron_client.chat.safe_text import safe_line
from nemotron_client.chat.screen import Screen
from nemotron_client.chat.session import Session


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
        # One Ctrl-C too many, after an answer has ended, must not end the chat.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            self._chat_on()
        finally:
            signal.signal(signal.SIGINT, before)

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
        with _without_echo():
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
def _without_echo() -> Iterator[None]:
    """What is typed while an answer comes is not shown in its midst; the next prompt has it."""
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    quiet = before[:]
    quiet[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
