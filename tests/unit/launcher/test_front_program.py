"""Which front nemotron-serve starts: its own Python's, or another one's where that has none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from nemotron_serving.launcher.front import front_program


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nemotron-front on PATH."""
    path = tmp_path / "nemotron-front"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return path


@pytest.fixture
def without_a_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python has none."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


def test_its_own_python_has_one(program: Path) -> None:
    assert program.exists()
    assert front_program() == [sys.executable, "-m", "nemotron_front"]


@pytest.mark.usefixtures("without_a_front")
def test_the_program_on_path_takes_its_place(program: Path) -> None:
    assert front_program() == [str(program)]


@pytest.mark.usefixtures("without_a_front")
def test_with_neither_the_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert front_program() == [sys.executable, "-m", "nemotron_front"]
