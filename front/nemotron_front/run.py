"""Runs the application in this process: listens, says so, and drains when it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from nemotron_front.access import Access, KeyFileError
from nemotron_front.app import App, make_app, make_client
from nemotron_front.connection import connection_type
from nemotron_front.errors import ApiError, shutting_down
from nemotron_front.metrics import ACCESS
from nemotron_front.options import FrontOptions

_logger = logging.getLogger(__name__)

_IDLE_S = 75  # longer than proxies keep an idle connection: who ends it first may lose the next request on it
_BACKLOG = 2048
_SEND_BUFFER = 65_536
_CUT_S = 2  # for connections to end once their answers were cut
_BEAT_S = 0.5
_LOOK_S = 0.05


class StartError(Exception):
    """What was asked for cannot be started. The message says why, and what to do."""


class Server(uvicorn.Server):
    """Serves until it is told to stop: once to drain, twice to stop at once.

    Attributes:
        exit_status: 0 after a drain; as a shell has it for the signal that ended it at once.
    """

    def __init__(
        self,
        app: App,
        options: FrontOptions,
        began: Callable[[], None],
        ends: Callable[[], None],
        parent: socket.socket | None,
    ) -> None:
        """Prepare.

        Args:
            app: What is served.
            options: How.
            began: Called when it listens.
            ends: Called when it is told to stop.
            parent: Gets a byte when it listens, and twice a second from then on. At its end this one ends too.
        """
        super().__init__(
            uvicorn.Config(
                app,
                http=connection_type(options),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_IDLE_S,
                timeout_graceful_shutdown=_CUT_S,
            )
        )
        self.exit_status = 0
        self._app = app
        self._parent = parent
        self._drain_seconds = options.drain_seconds
        self._drain_delay_seconds = options.drain_delay_seconds
        self._began = began
        self._ends = ends
        self._draining: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._began()
        self._looking = asyncio.get_running_loop().create_task(self._look())
        if self._parent is not None:
            self._beating = asyncio.get_running_loop().create_task(self._beat(self._parent))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals in place of uvicorn, which would close the port before running answers are whole."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._read_keys)
        if self._parent is not None:
            loop.add_reader(self._parent.fileno(), self._parent_ended)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came before is taken now
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Drain; when it does so already, stop at once."""
        if self._draining is None:
            self._app.leave(at_once=not self._drain_delay_seconds)
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self.exit_status = 128 + number
            self._at_once.set()

    def _read_keys(self) -> None:
        try:
            self._app.access.keys.read()
        except KeyFileError as error:
            _logger.warning("the keys stay as they are: %s", error)

    def _parent_ended(self) -> None:
        assert self._parent is not None  # noqa: S101 - only then it is looked for
        asyncio.get_running_loop().remove_reader(self._parent.fileno())
        self.stop()

    async def _look(self) -> None:
        try:
            await self._app.readiness.check()
        except ApiError:
            if not self._app.front.leaving:
                _logger.warning("no server is ready yet: until one is, requests get 503")

    @staticmethod
    async def _beat(parent: socket.socket) -> None:
        parent.setblocking(False)
        with contextlib.suppress(ConnectionError):  # it has ended
            while True:
                with contextlib.suppress(BlockingIOError):  # it is stopped, which must stop nobody else
                    parent.send(b".")
                await asyncio.sleep(_BEAT_S)

    async def _drain(self) -> None:
        front = self._app.front
        try:
            self._ends()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_once.wait(), self._drain_delay_seconds)
            front.stopping = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_seconds):
                    while front.exchanges and not self._at_once.is_set():  # noqa: ASYNC110
                        await asyncio.sleep(_LOOK_S)
            for exchange in list(front.exchanges):
                await exchange.cut(shutting_down())
        finally:
            self.should_exit = True


def check(options: FrontOptions) -> None:
    """Refuse what no client can be made with, before anything is started.

    Raises:
        StartError: a URL that is none, or a file that is not there or has something else in it.
    """
    for name in ("tls_ca", "tls_cert", "tls_key", "api_key_file"):
        file = getattr(options, name)
        if file is not None and not file.is_file():
            raise StartError(f"--{name.replace('_', '-')} {file}: there is no such file.")
    for url in options.urls:
        if "://" not in url and Path(url).is_dir():
            raise StartError(
                f"{url} is a directory, expected a server's URL, such as grpc://127.0.0.1:8001. "
                f"To serve a package with this API: nemotron-serve {url} --openai-port {options.port}."
            )
    try:
        make_client(options)
        Access(options)
    except (ValueError, KeyFileError) as error:
        raise StartError(str(error)) from error


def listen(options: FrontOptions) -> socket.socket:
    """The socket that callers connect to.

    Raises:
        StartError: the address is not ours, or the port is in use.
    """
    where = (options.bind, options.port)
    try:
        family = socket.getaddrinfo(*where, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server(where, family=family, backlog=_BACKLOG)
    except OSError as error:
        remedy = "Give --bind an address or a name of this machine."
        if error.errno == errno.EADDRINUSE:
            remedy = "Stop the program that has the port, or give another one; 0 picks a free one."
        elif error.errno == errno.EACCES:
            remedy = "Only root may listen on ports below 1024: give another one."
        raise StartError(
            f"--bind {options.bind} --port {options.port} cannot be used: {error.strerror}. {remedy}"
        ) from error
    # Connections inherit it. Else the system takes some MiB for a caller that does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where callers on this machine find it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def work(
    options: FrontOptions,
    listener: socket.socket,
    began: Callable[[], None],
    ends: Callable[[], None],
    parent: socket.socket | None = None,
) -> int:
    """Serve in this process, until a signal ends it.

    Args:
        options: How.
        listener: Where callers connect.
        began: See `Server`.
        ends: See `Server`.
        parent: See `Server`.

    Returns:
        The exit status.
    """
    server = Server(make_app(options), options, began, ends, parent)
    server.run([listener])
    return server.exit_status


def log_to_stderr(options: FrontOptions) -> None:
    """Have warnings on stderr, and the access log where it is wanted."""
    logging.raiseExceptions = False  # nobody may be there to read: that must not end anything
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    ACCESS.setLevel(logging.INFO if options.access_log else logging.WARNING)


class ReadyFile:
    """Tells programs where the front is, as JSON, while it takes requests."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, url: str, processes: Sequence[int]) -> None:
        """Have it appear, whole."""
        if self._path is None:
            return
        known = {"openai_url": f"{url}/v1", "front_url": url, "pid": os.getpid(), "worker_pids": list(processes)}
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        part.write_text(json.dumps(known) + "\n")
        part.replace(self._path)

    def remove(self) -> None:
        """Have it go."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def allow_many_connections() -> None:
    """Have as many open files as the system lets us."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
