"""What nemotron-serve tells the models in Triton's Python processes: environment variables and a runtime directory.

A Triton started by hand needs NEMOTRON_PACKAGE alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from nemotron_serving.errors import PackageError

_PREFIX = "NEMOTRON_"
LEAVE_FILE = "leave"
DRAIN_FILE = "drain"
CANCEL_FILE = "cancel"
CLOSE_FILE = "close"
ENGINE_FILE = "engine"
_DEPARTED_DIR = "departed"
PROBE_PLACES = 1  # beside those of callers, for the launcher's own requests

StopRule = Literal["any", "bound"]
"""`any`: whoever knows the request's id. `bound`: only the caller that sent it, see `contract.CALLER`."""


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What depends on the machine that serves, not on the package. Each is the variable NEMOTRON_<NAME>.

    Attributes:
        package: Directory of the package.
        runtime_dir: Directory that the launcher and the models share; None without a launcher.
        engine_threads: CPU threads of the engine; None takes them from the machine.
        kv_cache_gib: Size of the KV cache in GiB; None takes it from the machine.
        stream_interval_ms: Least time between two responses of a stream; None adapts it to the load.
        secret: Hex text that the launcher and the models know and no caller; the launcher makes one for each start.
            Empty with a Triton started by hand; see `nemotron_serving.seal` for what that means.
        stops: Whose stop requests end a request.
    """

    package: Path
    runtime_dir: Path | None = None
    engine_threads: int | None = None
    kv_cache_gib: int | None = None
    stream_interval_ms: float | None = None
    secret: str = ""
    stops: StopRule = "any"

    @property
    def probe_id(self) -> str | None:
        """The request id of the launcher's own requests, which no caller knows; None without a secret."""
        return (
            hashlib.blake2b(self.secret.encode(), person=b"probe", digest_size=16).hexdigest() if self.secret else None
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HostOptions:
        """Read the variables.

        Raises:
            PackageError: NEMOTRON_PACKAGE is missing, or a value is not of its type.
        """
        given = {
            name: value for name in cls.__struct_fields__ if (value := environment.get(_PREFIX + name.upper(), ""))
        }
        try:
            return msgspec.convert(given, cls, strict=False, dec_hook=lambda kind, value: kind(value))
        except msgspec.ValidationError as error:
            raise PackageError(f"{_PREFIX}* variables: {error}. Start the server with nemotron-serve.") from error

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads back as this object."""
        values = msgspec.structs.asdict(self)
        return {_PREFIX + name.upper(): str(value) for name, value in values.items() if value not in (None, "")}


def plain_path(directory: Path) -> Path:
    """A way to a directory that every library can be told, whatever its name.

    Triton's Python process decodes names as ASCII whatever the locale says, so a path of other bytes has surrogates,
    which Python's own functions take and libraries that want UTF-8 do not. Linux has another name for a directory that
    is open, in which nothing has to be spelled, for this process and those it starts.

    Returns:
        The same path where it is UTF-8 as it is, or where there is no such directory.
    """
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        try:
            held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)  # as long as the process lives
        except OSError:
            return directory
        return Path(f"/proc/{os.getpid()}/fd/{held}")
    return directory


class RuntimeDir:
    """What the launcher and the running models tell each other, as files; without a directory nobody hears it.

    From the launcher: `leave` (new requests will be refused soon), `drain` (admit nothing new), `cancel` (end what
    runs), `close` (close the engine). From the generating model: `engine`, which exists while its engine is open. From
    postprocessing to the generating model: in `departed`, a file for each stream whose caller has left.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def leaving(self) -> bool:
        """Whether new requests will be refused soon, or are already: who asks is to be sent elsewhere."""
        return self._exists(LEAVE_FILE) or self.draining()

    def draining(self) -> bool:
        """Whether new requests are to be refused."""
        return self._exists(DRAIN_FILE)

    def cancelling(self) -> bool:
        """Whether running requests are to be cancelled."""
        return self._exists(CANCEL_FILE)

    def closing(self) -> bool:
        """Whether the engine is to be closed."""
        return self._exists(CLOSE_FILE)

    def engine_opened(self) -> None:
        """Have the launcher wait for the engine's end when it stops the server."""
        if self._path is not None:
            (self._path / ENGINE_FILE).touch()

    def engine_closed(self) -> None:
        """Nothing of the engine is left to be waited for."""
        if self._path is not None:
            (self._path / ENGINE_FILE).unlink(missing_ok=True)

    def report_departure(self, stream_number: int) -> bool:
        """Tell the generating model that the caller of a stream has left. Returns whether it can hear it."""
        if self._path is None:
            return False
        directory = self._path / _DEPARTED_DIR
        try:
            directory.mkdir(exist_ok=True)
            (directory / str(stream_number)).touch()
        except OSError:  # a full disk
            return False
        return True

    def take_departures(self) -> frozenset[int]:
        """Numbers of the streams whose callers have left since the last call."""
        if self._path is None:
            return frozenset()
        directory = self._path / _DEPARTED_DIR
        try:
            names = os.listdir(directory)
        except OSError:  # nobody has left yet
            return frozenset()
        for name in names:
            with suppress(OSError):  # somebody cleaned up in there
                (directory / name).unlink()
        return frozenset(int(name) for name in names if name.isdecimal())

    def _exists(self, name: str) -> bool:
        return self._path is not None and (self._path / name).exists()
