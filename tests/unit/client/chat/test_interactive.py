"""Where questions are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.history import FileHistory, InMemoryHistory

from nemotron_client.chat.interactive import history_path, opened_history


def test_the_history_is_in_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_path() == Path("/state/nemotron-triton/chat_history")
    for not_a_place in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", not_a_place)
        assert history_path() == Path("/home/someone/.local/state/nemotron-triton/chat_history")


def test_the_history_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chat_history"
    assert isinstance(opened_history(path), FileHistory)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    opened_history(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_place_the_history_is_forgotten_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert isinstance(opened_history(tmp_path / "file" / "chat_history"), InMemoryHistory)


def test_a_full_disk_ends_no_chat(tmp_path: Path) -> None:
    history = opened_history(tmp_path / "chat_history")
    assert isinstance(history, FileHistory)
    history.filename = "/dev/full"
    history.append_string("a question")
    assert history.get_strings() == ["a question"]
