"""The file that tells scripts and tests where a server listens, and that it does."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from nemotron_serving.launcher.console import complain
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.server import TritonServer


class ReadyFile:
    """A JSON file that exists while the server serves, and is written anew after a restart.

    Args:
        path: The file; None writes none. One left from an earlier server is removed.

    Raises:
        SetupError: no file can be made there.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            return
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.unlink(missing_ok=True)
            self._unfinished.touch()
            self._unfinished.unlink()
        except OSError as error:
            raise SetupError(
                f"--ready-file {path}: {error.strerror}. Expected a file in a directory that can be written to."
            ) from error

    def write(self, server: TritonServer, restarts: int) -> None:
        """Say where `server` listens and which processes it is made of. Readers never see half a file.

        Raises:
            SetupError: it cannot be written, for want of space or of its directory. There is no file then.
        """
        if self._path is None:
            return
        content = {
            "grpc_url": server.endpoints.grpc_url,
            "http_url": server.endpoints.http_url,
            "metrics_url": server.endpoints.metrics_url,
            "health_url": server.endpoints.health_url,
            "pid": os.getpid(),
            "triton_pid": server.pid,
            "model_pids": server.model_pids,
            "restarts": restarts,
            "runtime_dir": str(server.runtime_dir),
            "log": str(server.log.path),
        }
        try:
            self._unfinished.write_text(json.dumps(content, indent=2) + "\n")
            self._unfinished.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                self._unfinished.unlink()
            raise SetupError(f"--ready-file {self._path} cannot be written: {error.strerror}.") from error

    def remove(self) -> None:
        """Nothing is served any more. Where the file cannot be removed, that is said, and no reason to fail."""
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                complain(f"--ready-file {self._path} cannot be removed: {error.strerror}. Nothing is ready there.")
                self._path = None  # nor written again
