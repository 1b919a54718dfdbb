"""The file that tells scripts and tests where a server listens, and that it does."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.server import TritonServer


class ReadyFile:
    """A JSON file that exists while the server serves, and is written anew after a restart.

    Args:
        path: The file; None writes none. One left from an earlier server is removed.

    Raises:
        SetupError: its directory is missing or closed to us.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        try:
            self.remove()
            if path is not None and not os.access(path.parent, os.W_OK):
                raise PermissionError(0, "its directory is missing or not writable")
        except OSError as error:
            raise SetupError(f"--ready-file {path}: {error.strerror}.") from error

    def write(self, server: TritonServer, restarts: int) -> None:
        """Say where `server` listens and which processes it is made of. Readers never see half a file."""
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
        unfinished = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(self._path)

    def remove(self) -> None:
        """Nothing is served any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
