"""The commands of the chat, as a table."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from nemotron_client.chat import transcript
from nemotron_client.chat.safe_text import safe_line
from nemotron_client.chat.screen import Screen
from nemotron_client.chat.session import ChatError, Session


class Next(Enum):
    """What the chat does after a command."""

    PROMPT = auto()
    ASK = auto()
    QUIT = auto()


@dataclass
class Chat:
    """What commands work on."""

    session: Session
    screen: Screen


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: What is typed, with its slash.
        argument: What it takes, for `/help`.
        help: One line.
        run: Does it. Gets what stands behind the name.
        choices: Words to complete the argument with.
        takes_file: Whether the argument is a file.
    """

    name: str
    argument: str
    help: str
    run: Callable[[Chat, str], Next | None]
    choices: tuple[str, ...] = ()
    takes_file: bool = False


def is_command(text: str) -> bool:
    """Whether this is a command and no question. A leading space, or a second slash, makes it a question."""
    return text.startswith("/") and not text.startswith("//")


def run(chat: Chat, text: str) -> Next:
    """Run a command.

    Raises:
        ChatError: it does not exist, or cannot do what was asked.
    """
    name, _, argument = text.strip().partition(" ")
    command = _BY_NAME.get(name)
    if command is None:
        close = difflib.get_close_matches(name, _BY_NAME, 1)
        hint = f"Did you mean {close[0]}?" if close else "/help lists them."
        raise ChatError(f"{safe_line(name)} is no command. {hint} To send it as text, begin with a space.")
    if argument and not command.argument:
        meant = [other for other, known in _BY_NAME.items() if known.argument and name.startswith(other)]
        hint = f" Did you mean {safe_line(f'{meant[0]} {argument.strip()}')}?" if meant else ""
        raise ChatError(f"{name} takes nothing behind it.{hint}")
    return command.run(chat, argument.strip()) or Next.PROMPT


def _think(chat: Chat, argument: str) -> None:
    if argument:
        chat.session.settings.thinking = _on_or_off("/think", argument)
    chat.screen.say(_sentence(chat.session.settings.describe()))


def _budget(chat: Chat, argument: str) -> None:
    settings = chat.session.settings
    if argument == "off":
        settings.budget = None
    elif argument:
        settings.budget = _positive("/budget", argument)
        settings.thinking = True  # without thinking it would mean nothing
    chat.screen.say(_sentence(settings.describe()))


def _max_tokens(chat: Chat, argument: str) -> None:
    settings = chat.session.settings
    if argument:
        settings.max_tokens = None if argument == "off" else _positive("/max-tokens", argument)
    chat.screen.say(_sentence(settings.describe()))


def _temperature(chat: Chat, argument: str) -> None:
    settings = chat.session.settings
    if argument:
        settings.temperature = None if argument == "off" else _number("/temperature", argument)
    chat.screen.say(_sentence(settings.describe()))


def _system(chat: Chat, argument: str) -> None:
    settings = chat.session.settings
    if argument:
        settings.system = "" if argument == "off" else argument
    chat.screen.say(f"System text: {settings.system}" if settings.system else "No system text.")


def _tools(chat: Chat, argument: str) -> None:
    settings = chat.session.settings
    if argument:
        settings.tools = [] if argument == "off" else transcript.load_tools(_path(argument))
    for tool in settings.tools:
        function = tool["function"]
        chat.screen.say(
            f"{safe_line(function['name'])}: {safe_line(str(function.get('description', '')))}".rstrip(": ")
        )
    if not settings.tools:
        chat.screen.say("No tools.")


def _fold(chat: Chat, argument: str) -> None:
    if argument:
        chat.screen.fold = _on_or_off("/fold", argument)
    state = "folded to one line when it has ended" if chat.screen.fold else "left in full"
    chat.screen.say(f"Thinking is {state}.")


def _thinking(chat: Chat, _argument: str) -> None:
    last = chat.session.last
    if last is None or not last.reasoning:
        raise ChatError("The last answer came without thinking.")
    chat.screen.show_thinking(last.reasoning)


def _retry(chat: Chat, _argument: str) -> Next:
    chat.session.retry()
    return Next.ASK


def _undo(chat: Chat, _argument: str) -> None:
    question = chat.session.undo()
    chat.screen.say(f"Taken back, with what followed it: {safe_line(question[:60])}{'…' * (len(question) > 60)}")


def _clear(chat: Chat, _argument: str) -> None:
    chat.session.clear()
    chat.screen.say("A new chat, with the same settings.")


def _save(chat: Chat, argument: str) -> None:
    path = _path(argument, "/save")
    transcript.save(path, chat.session.messages, chat.session.settings)
    chat.screen.say(f"Saved {_count(len(chat.session.messages), 'message')} to {path}.")


def _load(chat: Chat, argument: str) -> None:
    path = _path(argument, "/load")
    messages, settings = transcript.load(path)
    chat.session.clear()
    chat.session.messages.extend(messages)
    chat.session.settings = settings
    chat.screen.say(f"Loaded {_count(len(messages), 'message')} from {path}; {settings.describe()}.")
    for message in messages[-2:]:
        if message["role"] == "user":
            chat.screen.show(f"> {message['content']}")
        elif message["role"] == "assistant":
            chat.screen.show_answer(message["content"])
    if chat.session.unanswered:
        chat.screen.say("The last question has no answer: /retry asks it.")


def _settings(chat: Chat, _argument: str) -> None:
    chat.screen.say(_sentence(chat.session.settings.describe()))


def _usage(chat: Chat, _argument: str) -> None:
    last, totals = chat.session.last, chat.session.totals
    if last is not None and last.reply is not None:
        usage, timings = last.reply.usage, last.reply.timings
        cached = f" ({usage.cached_tokens} from the cache)" if usage.cached_tokens else ""
        thinking = f", {usage.reasoning_tokens} of them thinking" if usage.reasoning_tokens else ""
        first = "" if timings.ttft_s is None else f", first token after {timings.ttft_s:.2f} s"
        speed = "" if not timings.mean_itl_s else f", {1 / timings.mean_itl_s:.1f} tokens/s"
        chat.screen.say(
            f"Last answer: {usage.prompt_tokens} prompt tokens{cached}, {usage.output_tokens} output tokens{thinking}; "
            f"{timings.total_s:.2f} s in all{first}{speed}."
        )
    elif last is not None:
        chat.screen.say("Last answer: cut off before the server had counted it.")
    chat.screen.say(
        f"This chat: {_count(totals.answers, 'answer')}, {totals.prompt_tokens} prompt tokens, "
        f"{totals.output_tokens} output tokens, {totals.reasoning_tokens} of them thinking."
    )


def _help(chat: Chat, _argument: str) -> None:
    width = max(len(f"{one.name} {one.argument}") for one in COMMANDS)
    lines = [f"{f'{one.name} {one.argument}':<{width}}  {one.help}" for one in COMMANDS]
    chat.screen.show("\n".join([*lines, "", _KEYS]))


def _quit(_chat: Chat, _argument: str) -> Next:
    return Next.QUIT


def _on_or_off(command: str, argument: str) -> bool:
    if argument not in ("on", "off"):
        raise ChatError(f"{command} {safe_line(argument)}: expected on or off.")
    return argument == "on"


def _positive(command: str, argument: str) -> int:
    if not (argument.isascii() and argument.isdecimal() and 0 < int(argument[:10]) < 2**31 and len(argument) <= 10):
        raise ChatError(f"{command} {safe_line(argument)}: expected a whole number of tokens above 0, or off.")
    return int(argument)


def _number(command: str, argument: str) -> float:
    try:
        value = float(argument)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ChatError(f"{command} {safe_line(argument)}: expected a number of at least 0, or off.")
    return value


def _path(argument: str, command: str = "") -> Path:
    if not argument:
        raise ChatError(f"{command}: expected a file.")
    try:
        return Path(argument).expanduser()
    except RuntimeError:
        raise ChatError(f"{safe_line(argument)}: there is no such user.") from None


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


COMMANDS = (
    Command("/think", "on|off", "whether the model thinks before it answers", _think, ("on", "off")),
    Command("/budget", "N|off", "tokens after which the thinking is closed", _budget, ("off",)),
    Command("/max-tokens", "N|off", "most tokens of thinking and answer together", _max_tokens, ("off",)),
    Command("/temperature", "T|off", "0 is the likeliest answer", _temperature, ("off",)),
    Command("/fold", "on|off", "whether thinking is folded to one line when it has ended", _fold, ("on", "off")),
    Command("/thinking", "", "show the last thinking in full (also Ctrl-T)", _thinking),
    Command("/system", "TEXT|off", "what the model is told before the chat", _system, ("off",)),
    Command(
        "/tools", "FILE|off", "functions that it may call; you are asked for their results", _tools, ("off",), True
    ),
    Command("/retry", "", "ask the last question again", _retry),
    Command("/undo", "", "take the last question and its answer back", _undo),
    Command("/clear", "", "begin a new chat", _clear),
    Command("/save", "FILE", "keep the chat and its settings", _save, takes_file=True),
    Command("/load", "FILE", "go on with a chat that was saved", _load, takes_file=True),
    Command("/settings", "", "what the next question is asked with", _settings),
    Command("/usage", "", "tokens and times of the last answer, tokens of the chat", _usage),
    Command("/help", "", "this list", _help),
    Command("/quit", "", "leave (also Ctrl-D)", _quit),
)
_BY_NAME = {command.name: command for command in COMMANDS}
_KEYS = (
    "Enter sends. Alt-Enter, or a \\ at the end of a line, begins a new line. Ctrl-C cancels an answer, "
    "Ctrl-N ends its thinking."
)
