from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.terminal import ChildCommand, check_command
from tests.waiting import wait_until


def run(script: str) -> ChildCommand:
    return ChildCommand([sys.executable, "-c", script], {"GIVEN": "7"})


def wait(child: ChildCommand) -> int:
    while (status := child.status()) is None:
        time.sleep(0.01)
    return status


def test_it_sees_its_variables_and_returns_its_status() -> None:
    assert wait(run("import os, sys; sys.exit(int(os.environ['GIVEN']))")) == 7


def test_a_signal_becomes_a_status_as_in_a_shell() -> None:
    assert wait(run("import os; os.kill(os.getpid(), 9)")) == 137


def test_sigterm_is_passed_on() -> None:
    assert run("import time; time.sleep(60)").end(signal.SIGTERM, 10, time.sleep) == 143


def test_what_ignores_the_end_is_killed() -> None:
    child = ChildCommand(["/bin/sh", "-c", "while :; do sleep 0.1; done"], {})
    assert child.end(signal.SIGINT, 0.1, time.sleep) == 143


def test_what_ignores_every_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = ChildCommand(["/bin/sh", "-c", f"trap '' TERM; : >{ready}; while :; do sleep 0.1; done"], {})
    wait_until(ready.exists)
    assert child.end(signal.SIGTERM, 0.1, time.sleep) == 137


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(SetupError, match="COMMAND no-such-program: there is no such program"):
        check_command(["no-such-program"])


@pytest.mark.parametrize("content", ["no program of any kind", "#!/no/such/interpreter\n"])
def test_a_program_that_no_machine_runs(content: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(0o755)
    check_command([str(program)])
    with pytest.raises(SetupError, match=r"COMMAND .*/program cannot be run: "):
        ChildCommand([str(program)], {})
