"""A run's directory: what is known of the run, and its samples, written while it goes on.

samples.jsonl   a `Sample` a line, in the order in which they ended
server.jsonl    a `ServerSample` a line: the servers, once a second
run.json        a `RunRecord`, written when the run starts, and again when it has ended
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.samples import Sample, decode_sample, encode_sample
from nemotron_loadtest.scenario import Scenario, without_texts
from nemotron_loadtest.server import ServerSample, encode_server_sample

SAMPLES, SERVER, RUN = "samples.jsonl", "server.jsonl", "run.json"
SCHEMA_VERSION = 1
_PACKAGES = ("nemotron-triton", "locust", "gevent", "grpcio")

EndedBy = Literal["duration", "interrupt", "failures", "workers"]
"""`duration`: as planned; `interrupt`: somebody stopped it; `failures`: nothing but errors came back; `workers`: the
processes that send have gone."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run.

    Attributes:
        scenario: What was asked for, but the URL, which may have a password in it; of prompts, their length.
        urls: The servers, without secrets.
        started_at: Wall time of the start, ISO 8601.
        versions: Versions of Python and of the packages that count.
        machine: The machine that sent the load: system, processor, cores.
        workers: Processes that sent.
        measured_with: What has counted the tokens of prompts; None where none were made to measure.
        ended_by: Why it ended; None while it runs, and for a run that was killed.
        sent_until_s: When the last request may have been sent; None as before.
        not_sent: Requests that found `max_in_flight` on their way.
        busy: Whether a process that sent used its core up, so that its times are in doubt.
        problem: What went wrong; may be empty.
        schema_version: Version of this structure.
    """

    scenario: Scenario
    urls: tuple[str, ...]
    started_at: str
    versions: dict[str, str]
    machine: dict[str, str | int]
    workers: int = 1
    measured_with: str | None = None
    ended_by: EndedBy | None = None
    sent_until_s: float | None = None
    not_sent: int = 0
    busy: bool = False
    problem: str = ""
    schema_version: int = SCHEMA_VERSION


def new_record(scenario: Scenario) -> RunRecord:
    """The record of a run that starts now on this machine; its servers are not known yet."""
    return RunRecord(
        scenario=without_texts(msgspec.structs.replace(scenario, url=None)),
        urls=(),
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        versions={"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        machine={"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count() or 1},
    )


class Recorder:
    """Writes the directory of a run. Every sample is in the file when `write` returns."""

    def __init__(self, directory: Path, record: RunRecord) -> None:
        """Begin.

        Raises:
            LoadTestError: the directory cannot be written, or has a run already.
        """
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._samples = (directory / SAMPLES).open("xb")
            self._server = (directory / SERVER).open("xb")
        except FileExistsError:
            raise LoadTestError(f"{directory} has a run already, expected a new directory: see -o") from None
        except OSError as error:
            raise LoadTestError(f"{directory} cannot be written: {error.strerror}") from None
        self._write_record(record)

    def write(self, sample: Sample) -> None:
        """Add a sample."""
        self._samples.write(encode_sample(sample) + b"\n")
        self._samples.flush()

    def write_server(self, sample: ServerSample) -> None:
        """Add what a server was seen to do."""
        self._server.write(encode_server_sample(sample) + b"\n")
        self._server.flush()

    def close(self, record: RunRecord) -> None:
        """The run has ended."""
        self._samples.close()
        self._server.close()
        self._write_record(record)

    def _write_record(self, record: RunRecord) -> None:
        new = self._directory / f"{RUN}.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        new.replace(self._directory / RUN)


def read_run(directory: Path) -> tuple[RunRecord, list[Sample]]:
    """A run from its directory; also one that was killed, whose last line may be cut off.

    Raises:
        LoadTestError: there is none, or it cannot be read; names the line.
    """
    try:
        content = (directory / RUN).read_bytes()
        lines = (directory / SAMPLES).read_bytes().split(b"\n")
    except OSError as error:
        raise LoadTestError(f"{directory} has no run: {error.strerror}, expected {RUN} and {SAMPLES}") from None
    record = _record(directory / RUN, content)
    return record, [_sample(directory / SAMPLES, number, line) for number, line in enumerate(lines[:-1], 1)]


def measured_window(record: RunRecord, samples: Iterable[Sample]) -> Window:
    """What counts of a run: from the end of the warm-up to the end of the arrivals.

    A run that was killed does not know its end: it is that of the last request that it sent. The window of a run that
    ended in its warm-up has no length.
    """
    until_s = record.sent_until_s
    if until_s is None:
        until_s = max((sample.started_s for sample in samples), default=0.0)
    return Window(record.scenario.warmup_s, min(record.scenario.duration_s, until_s))


def schema_version(content: bytes) -> int:
    """The schema version of a JSON document, read before the rest: another version may have other fields.

    Raises:
        msgspec.DecodeError: it has none.
    """
    return msgspec.json.decode(content, type=_Versioned).schema_version


class _Versioned(msgspec.Struct):
    schema_version: int


def _record(path: Path, content: bytes) -> RunRecord:
    try:
        version = schema_version(content)
        if version == SCHEMA_VERSION:
            return msgspec.json.decode(content, type=RunRecord)
    except msgspec.DecodeError as error:
        raise LoadTestError(f"{path} is not the record of a run: {error}") from None
    raise LoadTestError(
        f"{path} has schema version {version}, this nemotron-bench reads {SCHEMA_VERSION}. "
        "Read it with the version that made it (`versions` in the file names it), or run the test again."
    )


def _sample(path: Path, number: int, line: bytes) -> Sample:
    try:
        return decode_sample(line)
    except msgspec.DecodeError as error:
        raise LoadTestError(f"{path}, line {number}: {error}") from None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
