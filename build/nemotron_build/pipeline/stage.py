"""A stage of a build: what it depends on, what it costs, what it runs, and the tools that it works with.

Programs that a stage runs write to a log, and none of them outlives us.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from nemotron_build.errors import BuildError, DiskSpaceError
from nemotron_build.programs import end_group
from nemotron_build.space import mentions_full
from nemotron_build.steps import Report
from nemotron_serving.package import sha256_of

READ_BYTES_PER_S = 1e9
"""What the times are worked out with. They are there to plan with, within a factor of two or three."""
SMALL_BYTES = 1_000_000
"""Space for a stage that leaves next to nothing."""

_LAST_LINES = 5
_SHOWN_CHARACTERS = 600


class Cost(msgspec.Struct, frozen=True):
    """What a stage is expected to take.

    Attributes:
        disk_bytes: Room for the files it leaves, and for those it needs beside them while it runs.
        seconds: On the hardware of the profile, within a factor of two or three.
    """

    disk_bytes: int
    seconds: float


class Stage(Protocol):
    """One step of a build. It reads what earlier stages left and writes into one directory."""

    @property
    def name(self) -> str:
        """One word: the command that runs it alone, and its place in the working directory."""

    @property
    def title(self) -> str:
        """What is going on, for the progress line."""

    def inputs(self) -> Mapping[str, str]:
        """What decides its outcome, beside what the stages before it left."""

    def cost(self) -> Cost:
        """Space and time."""

    def commands(self, output: Path) -> list[list[str]]:
        """Programs with arguments that do the same as `run`, to be shown."""

    def run(self, output: Path, tools: Tools) -> None:
        """Write everything into `output`, which is there and empty."""


class Tools:
    """What a stage works with.

    Args:
        logs: Directory that the programs' output is kept in.
        report: Called with what is going on, how much is done, and of how much.
        disk_option: The command's option that names another disk.
    """

    def __init__(self, logs: Path, report: Report, disk_option: str) -> None:
        self.logs = logs
        self.report = report
        self._disk_option = disk_option

    def log(self, name: str) -> Path:
        """The file that what is called so writes to."""
        return self.logs / f"{name}.log"

    def run(
        self, command: Sequence[str], *, log: str, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Run a program to its end. Its output goes to `self.log(log)`.

        Args:
            command: Program and arguments.
            log: Name of its log.
            directory: Where it runs.
            environment: Variables added to ours.

        Raises:
            BuildError: it cannot be started or failed, with the last lines it wrote.
            DiskSpaceError: it failed for want of space.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.log(log)
        with path.open("wb") as output:
            output.write(f"$ {shlex.join(command)}\n".encode())
            output.flush()
            status = _run(command, output.fileno(), directory, {**os.environ, **(environment or {})})
        if status == 0:
            return
        tail = _tail(path)
        kind = DiskSpaceError if mentions_full(tail) else BuildError
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        remedy = ""
        if kind is DiskSpaceError:
            remedy = f" Free some room there, or name another disk with {self._disk_option}."
        raise kind(f"{Path(command[0]).name} {ended}: {tail[-_SHOWN_CHARACTERS:]} (all of it: {path}){remedy}")


def logs_of(target: Path) -> Path:
    """Where the logs of what was made at `target` are kept: beside it."""
    return target.with_name(f"{target.name}.logs")


def drop_empty_logs(logs: Path) -> None:
    """Remove the logs of programs that had nothing to say, and the directory where that leaves none."""
    for log in logs.glob("*.log"):
        if not log.stat().st_size:
            log.unlink()
    if logs.is_dir() and not any(logs.iterdir()):
        logs.rmdir()


def texts_hash(path: Path | None) -> str:
    """Stands for a file of texts, or for those that ship."""
    return sha256_of(path) if path else "those that ship"


def _run(command: Sequence[str], output: int, directory: Path, environment: Mapping[str, str]) -> int:
    # In a group of its own, so that ending it ends what it has started, and a ctrl-C reaches it through us alone.
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be started: {error.strerror}.") from error
    try:
        return process.wait()
    finally:
        end_group(process)


def _tail(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    return " | ".join(line.strip() for line in lines[-_LAST_LINES:] if line.strip()) or "it wrote nothing"
