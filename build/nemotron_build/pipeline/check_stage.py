"""The stage `check`: the source is what it was, and whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

import nemotron_serving
from nemotron_build.json_file import write_json
from nemotron_build.pipeline.request import Request
from nemotron_build.pipeline.stage import READ_BYTES_PER_S, SMALL_BYTES, Cost
from nemotron_build.pipeline.tools import Tools

CHECKED = "checkpoint.json"


class Checked(msgspec.Struct, frozen=True):
    """The content of checkpoint.json, what `check` leaves.

    Attributes:
        sha256: Over all files that a build reads.
    """

    sha256: str


@dataclass(frozen=True)
class CheckStage:
    """Reads the whole checkpoint once, which shows whether it is the one that was built from before."""

    request: Request
    name = "check"
    title = "Checking the checkpoint"

    def inputs(self) -> Mapping[str, str]:
        """Names, sizes and times: a file that was touched is read again, and compared by its content."""
        files = self.request.source.files
        seen = {str(file): f"{file.stat().st_size} {file.stat().st_mtime_ns}" for file in files}
        return {**seen, "scan_values": str(self.request.scan_values), "version": nemotron_serving.__version__}

    def cost(self) -> Cost:
        """It reads everything, twice where values are scanned."""
        reads = 2 if self.request.scan_values else 1
        return Cost(SMALL_BYTES, reads * self.request.source.bytes / READ_BYTES_PER_S)

    def commands(self, output: Path) -> list[list[str]]:  # noqa: ARG002
        """`nemotron-build check`."""
        scan = ["--scan-values"] if self.request.scan_values else []
        return [["nemotron-build", "check", str(self.request.source.path), *scan]]

    def run(self, output: Path, tools: Tools) -> None:
        """Scan the values, if that was asked for, and hash the files."""
        from nemotron_build.checkpoint.weights import scan_tensors

        source = self.request.source
        if self.request.scan_values:
            scan_tensors(self.request.checkpoint.tensors, tools.report)
        write_json(output / CHECKED, Checked(source.fingerprint(tools.report)))
