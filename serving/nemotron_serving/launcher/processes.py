"""The processes of a server: which they are, whether they live and run, and a guard that ends them with nemotron-serve.

The guard does so also if nemotron-serve is killed with SIGKILL. Without it Triton would go on unsupervised, and after
Triton's own death some of its Python processes stay for ever. It is a shell of a megabyte that reads a pipe. It learns
Triton's process group from the pipe; when the pipe closes, because nemotron-serve closed it or is gone, it kills that
group and removes the files. When the guard itself is killed, another takes its place.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from nemotron_serving.launcher.triton_files import STUB_NAME

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where shm_open() puts it
_GUARD = f"""
group=
while read -r line; do group=$line; done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -f -- "{SHARED_MEMORY}/$1"*
shift
rm -rf -- "$@"
"""
# What Triton and the models write is for nobody else on the machine.
_UMASK = 0o077
# The started process announces its group itself, and holds the pipe open until it has: no moment is left unguarded.
_ANNOUNCE = 'echo "$$" >&0; exec "$@" </dev/null'


class Guard:
    """Keeps a process group and files from outliving this process.

    Args:
        shm_prefix: How the names of the files in `SHARED_MEMORY` begin.
        paths: Directories and files, which need not exist.
        patience_s: Seconds that the guard has to clean up when this is closed, before another one has to.
    """

    def __init__(self, shm_prefix: str, *paths: Path, patience_s: float = 5.0) -> None:
        self._patience_s = patience_s
        self._arguments = [shm_prefix, *(str(path.absolute()) for path in paths)]
        self._group: int | None = None
        self._start()

    def renew(self) -> bool:
        """Put another guard in the place of one that was killed.

        Returns:
            Whether that was done. Where the machine has no process left for it, the next call tries again.
        """
        if self._process.poll() is None:
            return False
        pipe = self._pipe
        try:
            self._start()
        except OSError:
            return False
        os.close(pipe)
        return True

    def popen(self, command: list[str], *, environment: dict[str, str], output: int) -> subprocess.Popen[bytes]:
        """Start a command as the leader of a session, and guard that session's process group.

        The files that it and its descendants make are for this user alone.

        Args:
            command: Program and arguments.
            environment: All its variables.
            output: File descriptor for its stdout and stderr.
        """
        self.renew()
        process = subprocess.Popen(
            ["/bin/sh", "-c", _ANNOUNCE, "sh", *command],
            stdin=self._pipe,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            umask=_UMASK,
        )
        self._group = process.pid
        return process

    def forget(self) -> None:
        """The group is gone: its number may soon be somebody else's."""
        self._group = None
        self._tell("")

    def close(self) -> None:
        """Kill what is guarded, remove the files, and wait until that is done."""
        os.close(self._pipe)
        while self._ended() < 0:  # killed, now or before: another one does it
            self._start()
            os.close(self._pipe)

    def _ended(self) -> int:
        """Wait for the guard's end, which comes at once unless somebody has stopped it: its status."""
        try:
            return self._process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "nemotron-serve-guard", *self._arguments],
                stdin=read_end,
                start_new_session=True,  # a ctrl-C in the terminal is not for the guard
            )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self._pipe = write_end
        if self._group is not None:
            self._tell(str(self._group))

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # the next one will know
            os.write(self._pipe, f"{line}\n".encode())

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def children(pid: int, *, recursive: bool) -> list[psutil.Process]:
    """What a process has started, with `recursive` also what those have; none if it is gone."""
    try:
        return psutil.Process(pid).children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []


class Turns:
    """Whether the threads of a process and its descendants get their turns on a CPU.

    Linux may leave a thread that is ready to run without one for most of a minute, where others keep all CPUs busy:
    6.18 did so to the engine's, beside a program of another session (`kernel.sched_autogroup_enabled`).
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._used: dict[int, int] = {}

    def withheld(self) -> bool:
        """Whether some thread is ready to run, and has not run since the last call."""
        before, self._used = self._used, {}
        waits = False
        for pid in (self._pid, *(child.pid for child in children(self._pid, recursive=True))):
            for task in Path(f"/proc/{pid}/task").glob("*"):
                with suppress(OSError):  # it has ended
                    state, *fields = (task / "stat").read_bytes().rpartition(b")")[2].split()
                    used = int(fields[10]) + int(fields[11])  # ticks in the user's mode and in the system's
                    self._used[int(task.name)] = used
                    waits |= state == b"R" and before.get(int(task.name)) == used
        return waits


def model_processes(triton: int) -> dict[psutil.Process, str]:
    """Triton's Python processes and the models that they run; not what those models started."""
    found = {}
    for process in children(triton, recursive=False):
        with suppress(psutil.Error, ValueError):
            program, model_file, *_ = process.cmdline()
            if Path(program).name == STUB_NAME:
                found[process] = Path(model_file).parent.parent.name
    return found


def alive(process: psutil.Process) -> bool:
    """Whether a process runs: one that has ended and waits to be looked after does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stopped(pid: int) -> bool:
    """Whether a signal has stopped a process, such as SIGSTOP."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def how_it_ended(status: int) -> str:
    """What a process's return code says, for people to read."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
