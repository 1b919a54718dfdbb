"""A stage of a build: what it depends on, what it costs, what it runs, and the record that it was done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from nemotron_build.pipeline.tools import Tools
from nemotron_serving.package import FileRecord, sha256_of

READ_BYTES_PER_S = 1e9
"""What the times are worked out with. They are there to plan with, within a factor of two or three."""
SMALL_BYTES = 1_000_000
"""Space for a stage that leaves next to nothing."""


class Cost(msgspec.Struct, frozen=True):
    """What a stage is expected to take.

    Attributes:
        disk_bytes: Of the files it leaves, and of those it needs beside them while it runs.
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


def texts_hash(path: Path | None) -> str:
    """Stands for a file of texts, or for those that ship."""
    return sha256_of(path) if path else "those that ship"
