"""The client's types, as a program of somebody else sees them: installed, and checked by mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nemotron_client
from nemotron_client import testing

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("sample_program.py")


def test_a_strict_type_checker_accepts_a_users_program(tmp_path: Path) -> None:
    """And finds its mistakes: an ignored error that is none is one too."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())
    options = ["--strict", "--config-file=", f"--cache-dir={ROOT / '.cache' / 'user-mypy'}"]
    command = [sys.executable, "-m", "mypy", *options, program.name]
    # From another directory, so that nothing of this one is found but what is installed.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_uses_every_public_name() -> None:
    used = PROGRAM.read_text()
    assert [name for name in (*nemotron_client.__all__, *testing.__all__) if used.count(name) < 2] == []
