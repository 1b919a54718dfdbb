from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nemotron_serving.launcher.processes import Guard, Turns
from tests.running import program, starving
from tests.waiting import wait_until

NO_SHM = "nemotron-test-of-the-guard-"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "run" / "models").mkdir(parents=True)
    return tmp_path / "run"


def popen(guard: Guard, *command: str) -> subprocess.Popen[bytes]:
    """Start a command under the guard, and wait until it has announced itself."""
    process = guard.popen([*command] or ["sleep", "60"], environment=dict(os.environ), output=2)
    wait_until(lambda: process.poll() is not None or psutil.Process(process.pid).name() != "sh")
    return process


def kill_guard() -> None:
    """Kill the one guard that this process has, before it can do anything."""
    guard = find_guard()
    guard.kill()
    wait_until(lambda: guard.status() == psutil.STATUS_ZOMBIE)


def find_guard() -> psutil.Process:
    """The one guard that this process has."""
    found: list[psutil.Process] = []

    def find() -> bool:
        # A program that was started just now has no command line for a moment.
        found[:] = filter(is_guard, psutil.Process().children())
        return bool(found)

    wait_until(find)
    (guard,) = found
    return guard


def is_guard(process: psutil.Process) -> bool:
    try:
        return "nemotron-serve-guard" in process.cmdline()
    except psutil.Error:  # what others have started and not waited for
        return False


def test_closing_ends_the_group_and_removes_the_files(directory: Path, tmp_path: Path) -> None:
    file, shared = tmp_path / "ready.json", Path("/dev/shm", f"{NO_SHM}{os.getpid()}")  # noqa: S108
    file.touch()
    shared.touch()
    with Guard(shared.name, directory, file, tmp_path / "never made") as guard:
        process = popen(guard)
    assert process.wait(5) == -signal.SIGKILL
    assert not any(path.exists() for path in (directory, file, shared))


def test_what_is_forgotten_is_left_alone(directory: Path) -> None:
    with Guard(NO_SHM, directory) as guard:
        process = popen(guard)
        guard.forget()
    assert process.poll() is None
    process.kill()
    process.wait()


def test_what_it_starts_makes_files_for_this_user_alone(directory: Path) -> None:
    with Guard(NO_SHM, directory) as guard:
        popen(guard, "touch", str(directory / "file")).wait()
        assert (directory / "file").stat().st_mode & 0o777 == 0o600


def test_the_end_of_this_process_is_enough(directory: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from nemotron_serving.launcher.processes import Guard, Turns
guard = Guard({NO_SHM!r}, Path({str(directory)!r}))
process = guard.popen(["sleep", "60"], environment=dict(os.environ), output=2)
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).stdout)
    wait_until(lambda: not psutil.pid_exists(pid) and not directory.exists())


@pytest.mark.parametrize(
    "meanwhile",
    [lambda _: None, Guard.renew, Guard.forget],
    ids=["nothing", "it was noticed", "the group was forgotten"],
)
def test_a_guard_that_was_killed_leaves_nothing(directory: Path, meanwhile: Callable[[Guard], object]) -> None:
    guard = Guard(NO_SHM, directory)
    process = popen(guard)
    kill_guard()
    assert directory.exists()
    meanwhile(guard)
    guard.close()
    assert not directory.exists()
    if meanwhile is Guard.forget:
        process.kill()
    assert process.wait(5) == -signal.SIGKILL


def test_a_guard_that_is_stopped_keeps_nobody_waiting(directory: Path) -> None:
    with Guard(NO_SHM, directory, patience_s=0.5) as guard:
        process = popen(guard)
        find_guard().suspend()
    assert process.wait(5) == -signal.SIGKILL
    assert not directory.exists()


def test_its_death_is_told_once(directory: Path) -> None:
    with Guard(NO_SHM, directory) as guard:
        assert not guard.renew()
        kill_guard()
        assert guard.renew()
        assert not guard.renew()


def test_without_a_process_for_a_new_guard_the_next_try_has_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError("no process left")

    with Guard(NO_SHM, directory) as guard:
        process = popen(guard)
        kill_guard()
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", refuse)
            assert not guard.renew()
        assert guard.renew()
    assert process.wait(5) == -signal.SIGKILL
    assert not directory.exists()


def test_a_command_is_started_under_a_new_guard(directory: Path) -> None:
    with Guard(NO_SHM, directory) as guard:
        kill_guard()
        process = popen(guard)
    assert process.wait(5) == -signal.SIGKILL


def test_a_thread_that_is_ready_and_gets_no_cpu_is_noticed() -> None:
    turns = Turns(os.getpid())

    def withheld() -> bool:
        time.sleep(0.25)
        return turns.withheld()

    with program(sys.executable, "-c", "while True: pass") as process, starving(process.pid):
        wait_until(withheld)


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_thread_that_sleeps_or_is_stopped_wants_no_cpu(is_stopped: bool) -> None:
    with program("sleep", "60") as started:
        process = psutil.Process(started.pid)
        wait_until(lambda: process.status() == psutil.STATUS_SLEEPING)
        if is_stopped:
            process.suspend()
            wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
        turns = Turns(process.pid)
        for _ in range(5):
            assert not turns.withheld()
            time.sleep(0.05)
        process.resume()  # or it would not end


def test_a_process_that_is_gone_wants_no_cpu() -> None:
    with program("true") as process:
        process.wait()
        turns = Turns(process.pid)
        assert not turns.withheld()
        assert not turns.withheld()
