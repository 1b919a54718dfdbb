"""What others are told of a server: the health port, for probes and balancers, and the ready file, for scripts.

Triton's own readiness cannot be told: 2.51 calls itself ready while it drains, hangs, or has lost a model's process.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from nemotron_serving.launcher.endpoints import Endpoints, bind, readable
from nemotron_serving.launcher.errors import SetupError
from nemotron_serving.launcher.server import TritonServer
from nemotron_serving.launcher.terminal import complain

_PATIENCE_S = 2.0  # for a whole request, not for each of its bytes
_MOST_CONNECTIONS = 64
_MOST_BYTES = 8192
_END = b"\r\n\r\n"
_POLL_S = 0.05


class Phase(Enum):
    """Where a server is in its life. Each value is what callers read."""

    STARTING = "starting"
    SERVING = "serving"
    FRONT_DOWN = "restarting the front of --openai-port"
    FRONT_APART = "the front of --openai-port has not found Triton yet"
    HUNG = "restarting after a hang"
    RESTARTING = "restarting after a crash"
    DRAINING = "draining"
    GIVING_UP = "giving up: the reason is in the log of nemotron-serve"


class ServerState:
    """What the health port tells. The launcher writes it, from any thread; it begins with a server that starts.

    What the reasons of a crash are stays in the launcher's own words at the terminal: callers could read paths in them.

    Attributes:
        phase: The phase now.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self._lock = threading.Lock()

    def enter(self, phase: Phase) -> None:
        """The server is in `phase` from now on. A drain is left for giving up alone: it ends with the server."""
        with self._lock:
            if self.phase is not Phase.DRAINING or phase is Phase.GIVING_UP:
                self.phase = phase

    @property
    def live(self) -> bool:
        """Whether to leave the server alone: it serves, or knows how to get there, or ends in good order."""
        return self.phase is not Phase.GIVING_UP

    @property
    def ready(self) -> bool:
        """Whether to send requests."""
        return self.phase is Phase.SERVING


class HealthServer:
    """Answers GET and HEAD of /live and /ready with 200 or 503 and the phase, until it is closed.

    One thread serves all connections. Each has two seconds, and the oldest of too many is dropped: nobody who is slow,
    or says nothing, keeps others or the end of the launcher waiting. Each connection gets one answer.

    Args:
        endpoints: Where to listen.
        state: What to tell.

    Raises:
        SetupError: the port is taken, or the address is not this machine's.
    """

    def __init__(self, endpoints: Endpoints, state: ServerState) -> None:
        self._state = state
        self._listener = bind(endpoints.bind, "--health-port", endpoints.health_port)
        self._listener.listen()
        self._listener.setblocking(False)
        self._close, self._closed = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Drop the connections and free the port."""
        self._close.close()
        self._thread.join()

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        heads: dict[socket.socket, _Head] = {}  # of the connections, the oldest first: the first to be overdue
        while True:
            patience = next((max(0.0, head.deadline - time.monotonic()) for head in heads.values()), None)
            ready = readable([self._closed, self._listener, *heads], patience)
            if self._closed in ready:
                break
            for connection in ready:
                if connection is not self._listener and not self._go_on(connection, heads[connection]):
                    _drop(connection, heads)
            if self._listener in ready:
                self._accept(heads)
            for connection, head in list(heads.items()):
                if head.deadline <= time.monotonic():
                    _drop(connection, heads)
        for connection in (*heads, self._listener, self._closed):
            connection.close()

    def _accept(self, heads: dict[socket.socket, _Head]) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it is gone already, or this process has too many files open
            time.sleep(_POLL_S)
            return
        connection.setblocking(False)
        heads[connection] = _Head(time.monotonic() + _PATIENCE_S)
        if len(heads) > _MOST_CONNECTIONS:
            _drop(next(iter(heads)), heads)

    def _go_on(self, connection: socket.socket, head: _Head) -> bool:
        """Read what came, and answer at the end of the head. Returns whether to keep the connection."""
        try:
            received = connection.recv(_MOST_BYTES)
            if head.answered:  # to close with bytes unread would take the answer back
                return bool(received)
            head.text += received
            if _END in head.text:
                connection.sendall(_answer(head.text, self._state))  # a new connection has the room
                connection.shutdown(socket.SHUT_WR)
                head.answered = True
        except OSError:
            return False
        return bool(received) and len(head.text) <= _MOST_BYTES


@dataclass
class _Head:
    """The head of a request, as far as it has come."""

    deadline: float
    text: bytes = b""
    answered: bool = False


def _drop(connection: socket.socket, heads: dict[socket.socket, _Head]) -> None:
    del heads[connection]
    connection.close()


def _answer(head: bytes, state: ServerState) -> bytes:
    """The whole answer to the head of a request."""
    method, _, target = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = target.partition(" ")[0].partition("?")[0]
    good = {"/live": state.live, "/ready": state.ready}.get(path)
    allow = ""
    if method not in ("GET", "HEAD"):
        status, text, allow = HTTPStatus.METHOD_NOT_ALLOWED, "expected GET or HEAD", "Allow: GET, HEAD\r\n"
    elif good is None:
        status, text = HTTPStatus.NOT_FOUND, "expected /live or /ready"
    else:
        status, text = (HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE), state.phase.value
    body = f"{text}\n".encode()
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{allow}Content-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return lines.encode() + (b"" if method == "HEAD" else body)


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

    def write(self, server: TritonServer, restarts: int, more: Mapping[str, Any] = {}) -> None:
        """Say where `server` listens and which processes it is made of. Readers never see half a file.

        Args:
            server: The server.
            restarts: How often it was started again.
            more: What else there is to say.

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
            **more,
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
