"""The working directory of a build: what was finished stays there, and what was not is never seen.

WORK/
  nemotron-build.lock      held while a build runs; marks the directory as one of ours
  logs/                    what the programs wrote
  STAGE/stage.json         what decided the stage's outcome, and what it left
  STAGE/files/             what it left
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from nemotron_build.errors import BuildError
from nemotron_build.json_file import write_json
from nemotron_build.pipeline.stage import drop_empty_logs
from nemotron_build.space import full_disk_as_error
from nemotron_serving.package import FileRecord, sha256_of

WORK_OPTION = "--work"
"""The option that names another working directory."""

_LOCK = "nemotron-build.lock"
_RECORD = "stage.json"
_FILES = "files"
_LOGS = "logs"
_PARTIAL = ".partial-"


class StageRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of stage.json, beside the files of a finished stage.

    Attributes:
        inputs: Fingerprint of what decided the outcome.
        digest: Stands for the files of this stage and of all before it.
        files: What it left.
        seconds: How long it took.
    """

    inputs: str
    digest: str
    files: dict[str, FileRecord]
    seconds: float


def default_work(package: Path) -> Path:
    """Where a package is made: beside it, so that nothing has to be copied."""
    package = package.resolve()
    return package.with_name(f".{package.name}-build")


def files_of(work: Path, stage: str) -> Path:
    """Where the files of a stage are when it is finished."""
    return work / stage / _FILES


class WorkDirectory:
    """A working directory that is ours alone while it is open; see `opened`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / _LOGS

    def files(self, stage: str) -> Path:
        """See `files_of`."""
        return files_of(self.path, stage)

    def finished(self, stage: str, inputs: str) -> StageRecord | None:
        """The record of a stage that was finished with these inputs and whose files are still there."""
        try:
            record = msgspec.json.decode((self.path / stage / _RECORD).read_bytes(), type=StageRecord)
        except (OSError, ValueError):
            return None
        files = self.files(stage)
        whole = all(_bytes(files / name) == file.bytes for name, file in record.files.items())
        return record if whole and record.inputs == inputs else None

    def make(self, stage: str, inputs: str, before: str, run: Callable[[Path], None]) -> StageRecord:
        """Run a stage; it appears when it is finished.

        Args:
            stage: Its name.
            inputs: Fingerprint of what decides its outcome.
            before: Digest of the stages before it.
            run: Writes the files into a directory.

        Returns:
            Its record.

        Raises:
            DiskSpaceError: the disk ran full.
        """
        start = time.monotonic()
        partial = self.path / f"{_PARTIAL}{stage}"
        for stale in (partial, self.path / stage):
            _remove(stale)
        try:
            with full_disk_as_error(self.path, option=WORK_OPTION):
                (partial / _FILES).mkdir(parents=True)
                run(partial / _FILES)
                files = record_files(partial / _FILES)
                digest = fingerprint({"before": before, **{name: file.sha256 for name, file in files.items()}})
                record = StageRecord(inputs, digest, files, round(time.monotonic() - start, 3))
                write_json(partial / _RECORD, record)
                os.rename(partial, self.path / stage)
        finally:
            _remove(partial)
        return record

    def keep_logs(self, target: Path) -> None:
        """Move what the programs wrote into `target`, in place of what they wrote there before."""
        drop_empty_logs(self.logs)
        if self.logs.is_dir():
            target.mkdir(exist_ok=True)
            for log in self.logs.iterdir():
                shutil.move(log, target / log.name)

    def remove(self) -> None:
        """Remove what builds have left, those of other profiles too; files that are not ours stay."""
        for record in self.path.glob(f"*/{_RECORD}"):
            _remove(record.parent)
        _remove(self.logs)
        (self.path / _LOCK).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()


@contextmanager
def opened(path: Path) -> Iterator[WorkDirectory]:
    """Open a working directory, for this process alone.

    What an earlier build left half-done there is removed. Where nothing was finished, nothing stays.

    Raises:
        BuildError: another build is at work there, or it holds other files.
    """
    if path.exists() and not path.is_dir():
        raise BuildError(f"{path} is a file, expected a directory for --work.")
    existed = path.is_dir() and any(path.iterdir())
    if existed and not (path / _LOCK).is_file():
        raise BuildError(f"{path} holds other files. Name a new or empty directory with --work.")
    path.mkdir(parents=True, exist_ok=True)
    with (path / _LOCK).open("a+") as lock:
        _take(lock.fileno(), path)
        for partial in path.glob(f"{_PARTIAL}*"):
            _remove(partial)
        work = WorkDirectory(path)
        try:
            yield work
        finally:
            if path.is_dir() and not any(path.glob(f"*/{_RECORD}")) and not work.logs.exists():
                work.remove()


def fingerprint(values: Mapping[str, str]) -> str:
    """One value that changes with any of these."""
    return hashlib.sha256(msgspec.json.encode(dict(sorted(values.items())))).hexdigest()


def record_files(directory: Path) -> dict[str, FileRecord]:
    """Size and SHA-256 of every file below a directory, by its relative path."""
    return {
        file.relative_to(directory).as_posix(): FileRecord(file.stat().st_size, sha256_of(file))
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.fstat(lock).st_ino == (path / _LOCK).stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:  # held, or removed by the build that held it
        raise BuildError(
            f"Another nemotron-build is at work in {path}. Wait for it, or name another directory with --work."
        )


def _bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
