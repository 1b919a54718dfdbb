"""How the models' processes tell the launcher, twice a second, that they get on with their work.

Through a named pipe in the runtime directory: unlike a file it needs no room on a disk that may be full, and its reader
gets whole lines. A process that is stopped, or whose interpreter is stuck, sends none, which says enough.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import msgspec

_log = logging.getLogger(__name__)

_PIPE = "heartbeats"
_INTERVAL_S = 0.5
_MOST_BYTES = 1 << 18  # more than a pipe holds


class Pulse(msgspec.Struct, frozen=True, array_like=True):
    """One piece of work, at one moment. Busy with a count that stays the same, it makes no progress.

    Attributes:
        busy: Whether it has something to do.
        count: Changes with each bit of progress.
        step_s: Seconds that a bit may take, where that is known beforehand.
    """

    busy: bool
    count: int
    step_s: float = 0.0


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """What one model's process says at one moment: the pulses of its work, by name."""

    model: str
    pulses: dict[str, Pulse]


class Work:
    """Work that one thread does a piece at a time, each in a `with` block."""

    def __init__(self) -> None:
        self._begun = self._ended = 0

    def pulse(self) -> Pulse:
        """Busy within a block; each that ends is progress."""
        ended = self._ended
        return Pulse(self._begun > ended, ended)

    def __enter__(self) -> None:
        self._begun += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended += 1


class Heartbeat:
    """Sends the beats of one model's process, from a thread of its own.

    Args:
        runtime_dir: Directory that the launcher and the models share; None sends nothing.
        model: Name of the model.
        read: Gives the pulses of further work, by name; must not block.

    Attributes:
        work: What `execute` does.
    """

    def __init__(
        self, runtime_dir: Path | None, model: str, read: Callable[[], Mapping[str, Pulse]] = lambda: {}
    ) -> None:
        self.work = Work()
        self._model = model
        self._read = read
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[runtime_dir], name="nemotron-heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send no more."""
        self._closing.set()
        self._thread.join()

    def _run(self, runtime_dir: Path | None) -> None:
        if runtime_dir is None:
            return
        pipe = _open(runtime_dir)
        try:
            while True:
                try:
                    self._send(pipe)
                except Exception:
                    # Without beats the launcher restarts the server: one that failed must not be the last.
                    _log.exception("heartbeat not sent")
                if self._closing.wait(_INTERVAL_S):
                    return
        finally:
            os.close(pipe)

    def _send(self, pipe: int) -> None:
        beat = Beat(self._model, {"work": self.work.pulse(), **self._read()})
        with contextlib.suppress(BlockingIOError):  # full: the launcher has not read for a while
            os.write(pipe, msgspec.json.encode(beat) + b"\n")


class Heartbeats:
    """The launcher's end of the pipe, which it makes.

    Args:
        runtime_dir: Where to make it.
    """

    def __init__(self, runtime_dir: Path) -> None:
        os.mkfifo(runtime_dir / _PIPE, 0o600)
        self._pipe = _open(runtime_dir)

    def read(self) -> list[Beat]:
        """The beats that came since the last call."""
        try:
            lines = os.read(self._pipe, _MOST_BYTES).splitlines()
        except BlockingIOError:
            return []
        beats = []
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):  # no beat of ours is cut, but it must not end the launcher
                beats.append(msgspec.json.decode(line, type=Beat))
        return beats

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._pipe)


def _open(runtime_dir: Path) -> int:
    # For reading and writing, on both sides: so neither waits for the other, nor fails when it has gone.
    return os.open(runtime_dir / _PIPE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
