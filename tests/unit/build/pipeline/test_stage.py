"""Programs: their output is kept, their failure is one line, and none outlives the build."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from nemotron_build import programs
from nemotron_build.errors import BuildError, DiskSpaceError
from nemotron_build.pipeline.stage import Tools, drop_empty_logs
from tests.unit.build.pipeline.pretend import alive
from tests.waiting import wait_until


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path / "logs", lambda *_: None, "--work")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_goes_to_a_log_with_the_command_on_top(tools: Tools, tmp_path: Path) -> None:
    command = python("import os; print(os.getcwd(), os.environ['ADDED'])")
    tools.run(command, log="tool", directory=tmp_path, environment={"ADDED": "yes"})
    first, second = (tmp_path / "logs/tool.log").read_text().splitlines()
    assert first.startswith("$ ")
    assert "'import os;" in first
    assert second == f"{tmp_path} yes"


def test_a_failure_names_status_last_lines_and_log(tools: Tools, tmp_path: Path) -> None:
    code = "import sys\nfor n in range(20): print('line', n)\nsys.exit('it broke')"
    with pytest.raises(BuildError) as caught:
        tools.run(python(code), log="tool", directory=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "ended with status 1: line 16 | line 17 | line 18 | line 19 | it broke" in message
    assert message.endswith(f"(all of it: {tmp_path}/logs/tool.log)")


def test_a_crash_and_silence_are_said(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="was ended by signal 9: it wrote nothing"):
        tools.run(python("import os; os.kill(os.getpid(), 9)"), log="tool", directory=tmp_path)


def test_a_missing_program_is_said(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no-such-program cannot be started: No such file"):
        tools.run(["no-such-program"], log="tool", directory=tmp_path)


def test_a_full_disk_in_a_program_is_a_full_disk(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(DiskSpaceError, match=r"No space left on device.*Free some room"):
        tools.run(python("raise OSError(28, 'No space left on device')"), log="tool", directory=tmp_path)


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_interrupt_ends_the_program_and_what_it_started(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr(programs, "_PATIENCE_S", 0.3)
    pids = tmp_path / "pids"
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else ""
    code = f"""
import os, pathlib, signal, subprocess, sys, time
{ignore}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(pids)!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(60)
"""

    def interrupt() -> None:
        while not pids.exists() or len(pids.read_text().split()) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        tools.run(python(code), log="tool", directory=tmp_path)
    thread.join()
    started = [int(pid) for pid in pids.read_text().split()]
    wait_until(lambda: not any(alive(pid) for pid in started), 12)  # each would sleep for a minute


def test_empty_logs_are_not_kept(tools: Tools) -> None:
    tools.logs.mkdir()
    (tools.logs / "quiet.log").touch()
    (tools.logs / "said.log").write_text("warning")
    drop_empty_logs(tools.logs)
    assert [log.name for log in tools.logs.iterdir()] == ["said.log"]
    (tools.logs / "said.log").write_text("")
    drop_empty_logs(tools.logs)
    assert not tools.logs.exists()
