"""The commands of the chat: what they change, what they say, what they refuse."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

from nemotron_client import Reply, Timings, Usage
from nemotron_client.chat import commands
from nemotron_client.chat.commands import COMMANDS, Chat, Next, is_command, run
from nemotron_client.chat.interactive import CommandCompleter
from nemotron_client.chat.screen import Screen
from nemotron_client.chat.session import Answer, ChatError, Session

TOOLS = '[{"type": "function", "function": {"name": "f", "description": "Does \\u001b[31mf"}}]'


@pytest.fixture
def chat() -> Chat:
    return Chat(Session(), Screen(Console(file=io.StringIO(), width=200), live=False))


def said(chat: Chat) -> str:
    file = chat.screen.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def asked_and_answered(chat: Chat) -> None:
    chat.session.ask("Is it?")
    reply = Reply("Yes.", "Hm.", (), "stop", False, Usage(10, 6, 2, 8), Timings(1.5, 0.25, 0.5, 0.1), "id")
    chat.session.answered(Answer("Yes.", "Hm.", (), reply))


def test_what_is_a_command() -> None:
    assert is_command("/help")
    assert not is_command(" /help")
    assert not is_command("//help")
    assert not is_command("What is /etc?")


def test_settings_are_changed(chat: Chat) -> None:
    settings = chat.session.settings
    run(chat, "/think on")
    assert settings.thinking is True
    run(chat, "/budget 64")
    run(chat, "/max-tokens 100")
    run(chat, "/temperature 0.5")
    run(chat, "/system Be brief, please.")
    assert (settings.budget, settings.max_tokens, settings.temperature) == (64, 100, 0.5)
    assert settings.system == "Be brief, please."
    for command in ("/think off", "/budget off", "/max-tokens off", "/temperature off", "/system off"):
        run(chat, command)
    assert settings.thinking is False
    assert (settings.budget, settings.max_tokens, settings.temperature, settings.system) == (None, None, None, "")


def test_a_budget_turns_thinking_on(chat: Chat) -> None:
    run(chat, "/think off")
    run(chat, "/budget 10")
    assert chat.session.settings.thinking is True
    assert said(chat).endswith("Thinking on, budget 10 tokens.\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/thunk on", "Did you mean /think?"),
        ("/etc/passwd", "To send it as text, begin with a space"),
        ("/think maybe", "expected on or off"),
        ("/fold last", "expected on or off"),
        ("/budget 0", "whole number of tokens above 0"),
        ("/budget ٣", "whole number"),
        ("/budget 99999999999999999999", "whole number"),
        ("/max-tokens 1.5", "whole number"),
        ("/temperature -1", "a number of at least 0"),
        ("/temperature nan", "a number of at least 0"),
        ("/help me", "/help takes nothing behind it."),
        ("/thinking on", "Did you mean /think on?"),
        ("/save", "expected a file"),
        ("/load", "expected a file"),
        ("/load ~nobody-of-this-name/x", "no such user"),
        ("/tools /does/not/exist", "No such file"),
        ("/retry", "Nothing was asked"),
        ("/undo", "Nothing was asked"),
        ("/thinking", "without thinking"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(chat: Chat, text: str, problem: str) -> None:
    with pytest.raises(ChatError, match=re.escape(problem)) as caught:
        run(chat, text)
    assert "\n" not in str(caught.value)


def test_what_the_chat_does_next(chat: Chat) -> None:
    chat.session.ask("Is it?")
    assert run(chat, "/retry") is Next.ASK
    assert run(chat, "/quit") is Next.QUIT
    assert run(chat, "/help") is Next.PROMPT


def test_help_tells_of_every_command(chat: Chat) -> None:
    run(chat, "/help")
    for command in COMMANDS:
        assert f"{command.name} {command.argument}".strip() in said(chat)


def test_tools_are_read_listed_and_dropped(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "my tools.json"
    path.write_text(TOOLS)
    run(chat, f"/tools {path}")
    assert [tool["function"]["name"] for tool in chat.session.settings.tools] == ["f"]
    assert r"f: Does \x1b[31mf" in said(chat)
    run(chat, "/tools off")
    assert chat.session.settings.tools == []


def test_a_chat_goes_on_after_it_was_loaded(chat: Chat, tmp_path: Path) -> None:
    run(chat, "/think on")
    asked_and_answered(chat)
    messages = list(chat.session.messages)
    run(chat, f"/save {tmp_path}/chat.json")
    run(chat, "/clear")
    run(chat, "/think off")
    assert chat.session.messages == []
    run(chat, f"/load {tmp_path}/chat.json")
    assert chat.session.messages == messages
    assert chat.session.settings.thinking is True
    assert "Loaded 2 messages" in said(chat)
    assert said(chat).endswith("> Is it?\nYes.\n")


def test_a_bad_file_changes_nothing(chat: Chat, tmp_path: Path) -> None:
    asked_and_answered(chat)
    messages = list(chat.session.messages)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ChatError):
        run(chat, f"/load {tmp_path}/bad.json")
    assert chat.session.messages == messages


def test_usage(chat: Chat) -> None:
    run(chat, "/usage")
    assert said(chat) == ("This chat: 0 answers, 0 prompt tokens, 0 output tokens, 0 of them thinking.\n")
    asked_and_answered(chat)
    run(chat, "/usage")
    assert (
        "Last answer: 10 prompt tokens (8 from the cache), 6 output tokens, 2 of them thinking; "
        "1.50 s in all, first token after 0.25 s, 10.0 tokens/s."
    ) in said(chat)
    assert "This chat: 1 answer, 10 prompt tokens, 6 output tokens, 2 of them thinking." in said(chat)


def test_fold_and_thinking(chat: Chat) -> None:
    run(chat, "/fold off")
    assert chat.screen.fold is False
    asked_and_answered(chat)
    run(chat, "/thinking")
    assert said(chat).endswith("Hm.\n")


def completions(text: str) -> list[str]:
    found = CommandCompleter().get_completions(Document(text), CompleteEvent())
    return [completion.text for completion in found]


def test_completion(tmp_path: Path) -> None:
    (tmp_path / "chat.json").touch()
    assert completions("/th") == ["/think", "/thinking"]
    assert completions("/think o") == ["on", "off"]
    assert completions(f"/load {tmp_path}/ch") == ["at.json"]
    assert completions("/nothing x") == []
    assert completions("Is /th") == []


def test_every_command_has_its_own_name() -> None:
    assert len({command.name for command in commands.COMMANDS}) == len(commands.COMMANDS)
