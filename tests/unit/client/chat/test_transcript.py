"""Chats as files: what is saved is loaded, and bad files are errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nemotron_client.chat.session import ChatError, Settings
from nemotron_client.chat.transcript import load, load_tools, save

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "ไทย 👩‍👩‍👧‍👦 \x1b[31m"},
    {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    settings = Settings(True, 64, "Be brief.", 0.5, 100, [TOOL])
    path = tmp_path / "chat.json"
    save(path, MESSAGES, settings)
    assert load(path) == (MESSAGES, settings)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["messages"][0] == {"role": "system", "content": "Be brief."}
    save(path, [], Settings())
    assert load(path) == ([], Settings())
    assert list(tmp_path.iterdir()) == [path]


def test_a_bare_list_of_messages_is_a_chat(tmp_path: Path) -> None:
    path = tmp_path / "messages.json"
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    path.write_text(
        json.dumps(
            [
                {"role": "developer", "content": "One."},
                {"role": "user", "content": parts},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "system", "content": "Two."},
            ]
        )
    )
    messages, settings = load(path)
    assert settings.system == "One.\n\nTwo."
    assert [message["content"] for message in messages] == ["Hello", ""]


def test_only_a_chat_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thesis.md"
    path.write_text("# Thesis")
    with pytest.raises(ChatError, match="holds no chat"):
        save(path, MESSAGES, Settings())
    assert path.read_text() == "# Thesis"
    with pytest.raises(ChatError, match="holds no chat"):
        save(tmp_path, MESSAGES, Settings())


def test_a_link_stays_one(tmp_path: Path) -> None:
    link, target = tmp_path / "link.json", tmp_path / "target.json"
    save(target, [], Settings())
    link.symlink_to(target)
    save(link, MESSAGES, Settings())
    assert link.is_symlink()
    assert load(target)[0] == MESSAGES


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ChatError, match="cannot be written: No such file or directory"):
        save(tmp_path / "nowhere" / "chat.json", MESSAGES, Settings())
    with pytest.raises(ChatError, match="cannot be written"):
        save(tmp_path / "half.json", [{"role": "user", "content": "\ud800"}], Settings())
    assert list(tmp_path.iterdir()) == []


def message(**fields: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": "Hi"}, fields]})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"messages": [], "settings": {"temperature": NaN}}', "NaN is no number in JSON"),
        ('{"messages": [], "settings": {"temperature": 1e999}}', "is no JSON"),
        ('[{"role": "user", "content": "\\ud800"}]', "no UTF-8"),
        ("5", "expected a JSON object"),
        ("{}", 'a list "messages"'),
        ('{"messages": {}}', 'a list "messages"'),
        ("[5]", r"messages\[0\]: expected an object"),
        (message(role="wizard", content="x"), r"messages\[1\].role: expected one of system"),
        (message(role=["user"], content="x"), r"messages\[1\].role"),
        (message(role="user"), r"messages\[1\].content: expected text"),
        (message(role="user", content=5), r"messages\[1\].content"),
        (message(role="user", content=[{"type": "image_url"}]), r"messages\[1\].content"),
        (message(role="assistant", reasoning_content=5), r"messages\[1\].reasoning_content"),
        (message(role="tool", content="x"), r"messages\[1\].tool_call_id"),
        (message(role="assistant", tool_calls=5), r"messages\[1\].tool_calls: expected a list"),
        (message(role="assistant", tool_calls=[5]), r"messages\[1\].tool_calls\[0\]"),
        (message(role="assistant", tool_calls=[{"id": "x", "function": "f"}]), r"messages\[1\].tool_calls\[0\]"),
        ('{"messages": [], "settings": []}', "settings: expected an object"),
        ('{"messages": [], "settings": {"colour": 1}}', "settings.colour is no setting"),
        ('{"messages": [], "settings": {"thinking": 1}}', "settings.thinking: expected true or false"),
        ('{"messages": [], "settings": {"max_tokens": true}}', "settings.max_tokens: expected a whole number"),
        ('{"messages": [], "settings": {"max_tokens": -1}}', "settings.max_tokens"),
        ('{"messages": [], "tools": 5}', "expected a JSON list of tools"),
        ('{"messages": [], "tools": [{"name": "f"}]}', "tool 0 has not the shape"),
    ],
)
def test_bad_files_are_errors_of_one_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "chat.json"
    path.write_text(content)
    with pytest.raises(ChatError, match=problem) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe[]")
    for name, problem in [("missing", "No such file"), ("bytes", "no UTF-8 text"), (".", "is no file")]:
        with pytest.raises(ChatError, match=problem):
            load(tmp_path / name)
    with pytest.raises(ChatError, match="is no file"):
        load(Path("/dev/zero"))


def test_tools(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([TOOL]))
    assert load_tools(path) == [TOOL]
    path.write_text(json.dumps(TOOL))
    with pytest.raises(ChatError, match="expected a JSON list of tools"):
        load_tools(path)
