"""Triton's log: the file, what came in since the last look, and the few lines of it that say why."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from nemotron_serving.launcher.errors import SetupError

LOG_NAME = "triton.log"
_ERROR = re.compile(
    r"^(?:E\d{4} [^\]]*\] ?|\[libprotobuf ERROR [^\]]*\] |error: (?:creating server: )?|  what\(\):  )(?P<text>.*)$"
)
_LOAD = re.compile(r"^failed to load '(?P<model>[^']+)' version \d+: (?:[A-Z][\w ]*: )??(?P<text>.*)$")
_POLL = re.compile(r"^Poll failed for model directory '(?P<model>[^']+)'")
_LISTENING = "Started GRPCInferenceService at "  # the first of its three services
_PYTHON_ERROR = re.compile(r"^Internal: |^(?:PackageError|EngineError): ")
# On every machine without a GPU, or only repeating what an earlier line said better.
_NOISE = (
    "CudaDriverHelper",
    "CUDA driver version is insufficient",
    "No address added",
    "failed to load all models",
    "ERROR: Failed to create instance",
)
_LOADING = re.compile(r"\] \"?loading: (?P<model>[^\s:\"]+):\d+")
_LOADED = re.compile(r"(?:successfully loaded|failed to load) '(?P<model>[^']+)'")
_STUB_GONE = re.compile(r"Stub process '[^']+' is not healthy\.?")
_MOST_LINES = 2
_MOST_BYTES = 1 << 28
_KEPT_BYTES = 1 << 24


class TritonLog:
    """The file that Triton writes into, over restarts.

    Args:
        path: The file.
        most_bytes: See `shorten`.
        kept_bytes: See `shorten`.
    """

    def __init__(self, path: Path, *, most_bytes: int = _MOST_BYTES, kept_bytes: int = _KEPT_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._kept_bytes = kept_bytes
        self._mark = self._size()
        self._read = self._mark

    def append(self) -> BinaryIO:
        """Open the file for writing at its end; one that is new is for this user alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)  # if somebody removed it since the last start
        self.path.touch(mode=0o600)
        return self.path.open("ab")

    def mark(self) -> None:
        """What follows belongs to a new start."""
        self._mark = self._size()

    def new_text(self) -> str:
        """What was written since the last call."""
        text = self._from(self._read)
        self._read += len(text)
        return text.decode(errors="replace")

    def shorten(self) -> None:
        """Keep the last `kept_bytes` of a file that has grown to more than `most_bytes`.

        Callers have it grow as they like: without a file left to open, 2.51 writes 13 MB a second. Who has the file
        open for appending goes on at its new end; a line that comes at this very moment may be lost.
        """
        if self._size() <= self._most_bytes:
            return
        with suppress(OSError), self.path.open("r+b") as file:
            dropped = file.seek(-self._kept_bytes, os.SEEK_END)
            kept = file.read()
            file.truncate(0)
            self._mark, self._read = max(0, self._mark - dropped), max(0, self._read - dropped)
            with self.append() as end:
                end.write(kept)

    def reason(self) -> str:
        """The lines since the mark that say why Triton ended, at most two; empty if none does."""
        return "\n".join(failure_lines(self.since_mark()))

    def since_mark(self) -> str:
        """All that was written since the mark."""
        return self._from(self._mark).decode(errors="replace")

    def listening(self) -> bool:
        """Whether Triton took connections of callers since the mark."""
        return _LISTENING in self.since_mark()

    def loading(self) -> tuple[str, ...]:
        """The models that Triton began to load since the mark and has not loaded, nor failed to."""
        log = self.since_mark()
        ended = {match["model"] for match in _LOADED.finditer(log)}
        return tuple(match["model"] for match in _LOADING.finditer(log) if match["model"] not in ended)

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _from(self, offset: int) -> bytes:
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read()


def log_directory(given: Path | None) -> Path | None:
    """The directory of --log-dir, made if it is not there.

    Raises:
        SetupError: no log can be written in it.
    """
    if given is None:
        return None
    try:
        given.mkdir(parents=True, exist_ok=True)
        TritonLog(given / LOG_NAME).append().close()
    except OSError as error:
        raise SetupError(
            f"--log-dir {given}: {error.strerror}. Expected a directory to write {LOG_NAME} in."
        ) from error
    return given.resolve()


def failure_lines(log: str) -> list[str]:
    """Pick the lines of a log that a person needs, freed from Triton's decoration.

    A model that failed to load is the reason for whatever else failed; the models above it only lack it.
    """
    errors = [match["text"].strip('" ') for line in log.splitlines() if (match := _ERROR.match(line))]
    errors = [text for text in dict.fromkeys(errors) if text and not any(noise in text for noise in _NOISE)]
    models: dict[str, list[str]] = {}  # by what all of them say
    for match in filter(None, map(_LOAD.match, errors)):
        models.setdefault(_cause(match["text"]), []).append(f"'{match['model']}'")
    if models:
        loads = [f"model{'s' * (len(names) > 1)} {', '.join(names)}: {cause}" for cause, names in models.items()]
        return loads[:_MOST_LINES]
    if any(_POLL.match(text) for text in errors):
        return errors[:_MOST_LINES]
    return errors[-_MOST_LINES:]


def _cause(text: str) -> str:
    # Triton writes a Python exception in one line, with its traceback after an escaped "At:".
    text = text.partition("\\n\\nAt:")[0].replace("\\n", " ")
    while _PYTHON_ERROR.match(text):
        text = _PYTHON_ERROR.sub("", text)
    if _STUB_GONE.fullmatch(text):
        return (
            "its Python process ended or was killed while it loaded the model. "
            "--verbose shows what it wrote last, dmesg what the kernel killed."
        )
    return text
