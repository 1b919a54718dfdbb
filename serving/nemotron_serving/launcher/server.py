"""One Triton on one package: prepared once, started as often as needed, stopped with everything it made."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

import psutil

from nemotron_serving import cgroups
from nemotron_serving.heartbeat import Heartbeats
from nemotron_serving.host import CANCEL_FILE, CLOSE_FILE, DRAIN_FILE, ENGINE_FILE, LEAVE_FILE, HostOptions
from nemotron_serving.launcher import limits
from nemotron_serving.launcher.endpoints import (
    Endpoints,
    all_ready,
    answer_one_request,
    choose_endpoints,
    probe_triton,
    requests_in_flight,
    server_version,
)
from nemotron_serving.launcher.errors import SetupError, StartError
from nemotron_serving.launcher.options import ServeOptions
from nemotron_serving.launcher.processes import (
    SHARED_MEMORY,
    Guard,
    Turns,
    alive,
    children,
    how_it_ended,
    model_processes,
    stopped,
)
from nemotron_serving.launcher.terminal import say, write
from nemotron_serving.launcher.triton_command import tritonserver_arguments, tritonserver_environment
from nemotron_serving.launcher.triton_files import (
    check_stub,
    default_repository,
    find_triton,
    keep_from_aging,
    prepare_backends,
    prepare_repository,
    runtime_directory,
)
from nemotron_serving.launcher.triton_log import LOG_NAME, TritonLog, log_directory
from nemotron_serving.launcher.watchdog import PROBES, HangWatch

_POLL_S = 0.05
_CLOSE_S = 5.0
_END_S = 0.5  # between the end of a connection to Triton and that of its process
_TERM_S = 1.0
_GONE_S = 10.0  # a moment, mostly
_GONE_POLL_S = 0.01

STOP_S = _CLOSE_S + _TERM_S + 2.0
"""What `TritonServer.stop` takes at the most, with some time for the system to end what was killed."""


class TritonServer:
    """A running server, as a context manager: ready on entry, gone with its files on exit.

        with TritonServer(ServeOptions(package=path, http_port=0, grpc_port=0, metrics_port=0)) as server:
            client.connect(server.endpoints.grpc_url)

    Args:
        options: What to serve and how.
        endpoints: Where to listen, as `choose_endpoints` made them of the options; None chooses now.
        gpu: Whether the engine runs on a GPU.
        max_in_flight: Requests that may wait for an answer of `unary` at once: what the package admits.
        about: What callers may know of what is served: see `triton_files.about`.
        sleep: Waits some seconds. An exception from it ends any wait in here.
        log_stream: Gets Triton's log as it is written.
        remove: Files that go with the server, also if this process is killed.

    Attributes:
        endpoints: Where the server listens; the same after a restart.
        runtime_dir: Shared with the models; see `nemotron_serving.host.RuntimeDir`.
        models: Names of the models.
        heartbeats: What the models' processes say of their progress.
        log: Triton's log.
        ready_after_s: What the latest start took.
    """

    def __init__(
        self,
        options: ServeOptions,
        *,
        endpoints: Endpoints | None = None,
        gpu: bool = False,
        max_in_flight: int = 0,
        about: Mapping[str, str] = {},
        sleep: Callable[[float], None] = time.sleep,
        log_stream: TextIO | None = None,
        remove: Iterable[Path] = (),
    ) -> None:
        self._options = options
        self._sleep = sleep
        self._log_stream = log_stream
        triton = find_triton(options.tritonserver)
        self.endpoints = endpoints or choose_endpoints(options)
        log_dir = log_directory(options.log_dir)
        self.runtime_dir = runtime_directory()
        self._lock = keep_from_aging(self.runtime_dir)
        self._shm_prefix = f"{self.runtime_dir.name}-"
        self._guard = Guard(self._shm_prefix, self.runtime_dir, *remove)
        self.heartbeats = Heartbeats(self.runtime_dir)
        self.ready_after_s = 0.0
        self._events = cgroups.events()  # counted before the latest start
        self._process: subprocess.Popen[bytes] | None = None
        self._stubs: dict[psutil.Process, str] = {}  # the Python processes, and the models that they run
        self._workers: dict[psutil.Process, str] = {}  # what those started, such as an engine's own process
        self._hang_watch: HangWatch | None = None
        try:
            self._environment = tritonserver_environment(triton, options, self.runtime_dir)
            check_stub(triton, self._environment)
            backends, repository = self.runtime_dir / "backends", self.runtime_dir / "models"
            source = options.model_repository or default_repository()
            self.models = prepare_repository(source, repository, about)
            prepare_backends(triton, backends, source)
        except OSError as error:
            self._end_guard()
            raise SetupError(
                f"The files that Triton needs cannot be written to {self.runtime_dir}: {error.strerror}. Free some "
                "space there, or set TMPDIR to a directory that has some."
            ) from error
        except BaseException:
            self._end_guard()
            raise
        self.log = TritonLog((log_dir or self.runtime_dir) / LOG_NAME)
        self._command = tritonserver_arguments(
            triton,
            self.endpoints,
            repository=repository,
            backends=backends,
            admin_key=options.admin_key,
            shm_prefix=self._shm_prefix,
            tls=options.tls,
            gpu=gpu,
            stops=options.stops,
            max_in_flight=max_in_flight,
        )

    @property
    def pid(self) -> int:
        """Process id of tritonserver; also its process group and session."""
        return self._running().pid

    @property
    def version(self) -> tuple[int, ...]:
        """Triton's version, such as (2, 51, 0)."""
        return server_version(self.endpoints)

    @property
    def model_pids(self) -> dict[str, int]:
        """Process ids of the Python models."""
        return {model: process.pid for process, model in self._stubs.items()}

    def start(self) -> None:
        """Start Triton and wait until it answers a request.

        Raises:
            StartError: it ended, or did not answer in time. Nothing of it is left running.
        """
        began = time.monotonic()
        for word in (LEAVE_FILE, DRAIN_FILE, CANCEL_FILE, CLOSE_FILE, ENGINE_FILE):
            (self.runtime_dir / word).unlink(missing_ok=True)  # said to an earlier one, or by it
        self.log.mark()
        self.heartbeats.read()  # those of a start before
        self._events = cgroups.events()
        try:
            with self.log.append() as log:
                self._process = self._guard.popen(self._command, environment=self._environment, output=log.fileno())
        except OSError as error:  # the log's directory is gone, or there is not what it takes to start a process
            raise StartError(f"Triton cannot be started: {error}.") from error
        limits.raise_open_files(self._process.pid)
        try:
            self._wait_ready(began + self._options.start_seconds)
        except StartError as error:
            cause = limits.cause_of_failure(self.log.since_mark(), self._events)  # while it still has what it got
            self._wait_while(lambda: self._running().poll() is None, _END_S)
            reachable = self._running().poll() is not None and self.log.listening()
            self.kill()
            raise StartError(f"{error}\n{cause}".rstrip(), reachable=reachable) from error
        except BaseException:
            self.kill()
            raise
        self.ready_after_s = time.monotonic() - began
        if hang_seconds := self._options.hang_seconds:
            asking = probe_triton(self.endpoints, self._probe_id, hang_seconds / PROBES)
            self._hang_watch = HangWatch(self.heartbeats.read, asking, hang_seconds, Turns(self.pid).withheld)

    def death(self) -> str | None:
        """What died of tritonserver, its model processes and theirs; None while all live.

        Triton itself goes on when a model's process is gone, calls itself ready, and leaves callers waiting. A model
        whose engine is gone can only fail its requests.
        """
        if self._process is None:
            return "tritonserver is not running"
        dead = self._dead()
        return dead and dead + limits.cause_of_death(self._events)

    def hang(self) -> str | None:
        """What makes no progress though all live; None while nothing hangs, or where nobody looks for that.

        To be asked a few times a second. Each start begins anew, and from the first refused request on nobody looks.
        """
        if self._hang_watch is None or (hang := self._hang_watch.look()) is None:
            return None
        # Who is stopped makes others wait, that may have been found first.
        models = {process.pid: name for process, name in self._model_processes()}
        halted = [name for pid, name in {self.pid: "tritonserver", **models}.items() if stopped(pid)]
        return f"{hang} (stopped by a signal: {', '.join(halted)})" if halted else hang

    def in_flight(self) -> int | None:
        """Requests the models work on; None if the server does not answer."""
        return requests_in_flight(self.endpoints)

    def take_leave(self) -> None:
        """Have the models tell sessions, and callers that ask, that they will refuse new requests soon."""
        self._tell(LEAVE_FILE)

    def refuse_new(self) -> None:
        """Have the models refuse new requests, from now on."""
        self._end_hang_watch()
        self._tell(DRAIN_FILE)

    def cancel_running(self) -> None:
        """Have the models end what runs, with a reason."""
        self._tell(CANCEL_FILE)

    def stop(self) -> None:
        """Close the engine, let the models end, then Triton. Without effect when nothing runs.

        The engine gets 5 seconds and the models one. Triton cannot be left to it: with an open connection it ends no
        model before 5 seconds are over, after some cancelled streams none at all.
        """
        process = self._process
        if process is None:
            return
        self._tell(CLOSE_FILE)
        self._wait_while(lambda: (self.runtime_dir / ENGINE_FILE).exists() and self._dead() is None, _CLOSE_S)
        process.terminate()
        # Not for Triton's own end: after a stream through an ensemble, 2.51 waits for a request that it forgot.
        self._wait_while(lambda: process.poll() is None and any(map(alive, self._stubs)), _TERM_S)
        self.kill()

    def kill(self) -> None:
        """End Triton and its descendants at once, and free their shared memory. Without effect when nothing runs."""
        process = self._process
        if process is None:
            return
        family = {*self._stubs, *self._workers, *children(process.pid, recursive=True)}
        # The leader may be gone and its group alive: processes of its models.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        with suppress(subprocess.TimeoutExpired):  # nothing ends a process that waits for a dead device
            process.wait(_GONE_S)
        # Not until their numbers are free: whoever adopted the models' processes may take seconds to look at them.
        until = time.monotonic() + _GONE_S
        while any(map(alive, family)) and time.monotonic() < until:
            time.sleep(_GONE_POLL_S)
        # Nobody else would before this program ends, and each start makes new ones.
        for region in self._shared_memory():
            with suppress(OSError):
                region.unlink()
        self._guard.forget()
        self._end_hang_watch()
        self._process = None
        self._stubs, self._workers = {}, {}
        self._copy_log()

    def close(self) -> None:
        """Kill what runs and remove every file but a log in a directory of the caller's."""
        self.kill()
        self._end_guard()

    def sleep(self, seconds: float) -> None:
        """Wait, pass on what Triton logged meanwhile, and see that there is a guard."""
        self._sleep(seconds)
        self._copy_log()
        if self._guard.renew():
            say("The process that cleans up after a killed nemotron-serve was killed: another one took its place.")

    def __enter__(self) -> TritonServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_ready(self, deadline: float) -> None:
        def wait() -> None:
            self.sleep(_POLL_S)
            self._close_shared_memory()
            if (death := self._dead()) is not None:
                reason = self.log.reason() or f"{death}. Triton's log, which --verbose shows, says no more."
                raise StartError(f"The server did not start: {reason}")
            if time.monotonic() > deadline:
                patience = f"{self._options.start_seconds:g} s (--start-seconds)"
                loading = ", ".join(f"'{model}'" for model in self.log.loading())
                still = f", and still loads {loading}" if loading else ""
                raise StartError(f"The server was not ready after {patience}{still}. {self.log.reason()}".rstrip())

        while not all_ready(self.endpoints, self.models):
            wait()
        self._close_shared_memory()
        self._stubs = model_processes(self.pid)
        answer_one_request(self.endpoints, self._probe_id, wait)
        # Not earlier: until then a model may run a program that ends by itself.
        self._workers = {
            worker: model for stub, model in self._stubs.items() for worker in children(stub.pid, recursive=True)
        }

    def _dead(self) -> str | None:
        status = self._running().poll()
        if status is not None:
            return f"tritonserver {how_it_ended(status)}"
        for process, name in self._model_processes():
            if not alive(process):
                return f"{name} died"
        return None

    def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while condition() and time.monotonic() < until:
            self.sleep(_POLL_S)

    def _close_shared_memory(self) -> None:
        """Let this user alone read what requests pass through.

        Triton opens it to all whatever the umask is. It is made a moment before its model's process is started, so
        this comes before the first request.
        """
        for path in self._shared_memory():
            with suppress(OSError):  # it is gone, or another user's of the same name
                region = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    os.fchmod(region, 0o600)
                finally:
                    os.close(region)

    def _shared_memory(self) -> Iterator[Path]:
        return SHARED_MEMORY.glob(f"{self._shm_prefix}*")

    def _model_processes(self) -> Iterator[tuple[psutil.Process, str]]:
        for process, model in self._stubs.items():
            yield process, f"the process of model '{model}'"
        for process, model in self._workers.items():
            yield process, f"a process that model '{model}' had started"

    def _end_hang_watch(self) -> None:
        if self._hang_watch is not None:
            self._hang_watch.close()
            self._hang_watch = None

    def _end_guard(self) -> None:
        self.heartbeats.close()
        os.close(self._lock)
        self._guard.close()

    def _tell(self, word: str) -> None:
        self.runtime_dir.mkdir(mode=0o700, exist_ok=True)  # somebody may have cleaned up in there
        (self.runtime_dir / word).touch()

    @property
    def _probe_id(self) -> str | None:
        return HostOptions.from_environment(self._environment).probe_id

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("Triton is not running: start() comes first.")
        return self._process

    def _copy_log(self) -> None:
        if self._log_stream is not None:
            write(self._log_stream, self.log.new_text())
        self.log.shorten()
