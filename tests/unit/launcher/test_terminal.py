from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from nemotron_serving.launcher.terminal import say, show, write

_SERVE = [sys.executable, "-m", "nemotron_serving.launcher"]


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A pipe whose reader is gone."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = open(write_end, "w", encoding="ascii", closefd=False)  # noqa: SIM115 - its end cannot be written
    yield stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), write_end)
    stream.close()
    os.close(write_end)


def test_nobody_has_to_read(unread: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", unread)
    monkeypatch.setattr(sys, "stdout", unread)
    for text in ("a line", "x" * 100_000, "another"):
        say(text)
        assert not write(unread, text)
    show("a row")
    assert write(unread, "what comes later goes nowhere")


def test_a_disk_that_is_full_for_a_while_loses_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        say("a line")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
        assert write(full, "more")


def test_what_is_no_text_is_shown_with_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say("a path: \udcff")
    assert capsys.readouterr().err == "a path: \\udcff\n"


@pytest.mark.parametrize("redirection", ["2>&-", "<&- >&- 2>&-", "2>/dev/full", "2>&1 | true"])
def test_a_mistake_has_its_status_whoever_reads(redirection: str) -> None:
    script = f'set -o pipefail; "$@" {redirection}'
    ended = subprocess.run(["bash", "-c", script, "bash", *_SERVE, "nowhere"], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, b"")


def test_a_table_that_is_not_read_to_its_end(tmp_path: object) -> None:
    script = 'set -o pipefail; "$@" | true'
    ended = subprocess.run(
        ["bash", "-c", script, "bash", *_SERVE, "check", f"{tmp_path}/no"], capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, b"")
