"""Every example of docs/client/testing.md is a test module that passes, and its types are right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[4] / "docs" / "client" / "testing.md"
EXAMPLES = re.findall(r"^```(?:python|py)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    return tmp_path


def run(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", *arguments, "."]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_pass(directory: Path) -> None:
    count = sum(example.count("def test_") for example in EXAMPLES)
    assert count >= len(EXAMPLES) == 7
    assert f"{count} passed" in run(
        directory, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-c", "/dev/null"
    )


def test_the_examples_are_typed(directory: Path) -> None:
    run(directory, "mypy", "--strict", "--cache-dir", str(directory / "cache"))
