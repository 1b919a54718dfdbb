"""Several processes at one port: starts them, starts those again that die, and passes on the signals that it gets."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from prometheus_client.multiprocess import mark_process_dead

from nemotron_front import run
from nemotron_front.metrics import DIRECTORY_VARIABLE
from nemotron_front.options import FrontOptions

_logger = logging.getLogger(__name__)

_START_AGAIN_S = 1.0
_MOST_FAILURES = 3
_START_S = 60.0  # some seconds, mostly
_LOOK_S = 0.25
_LATE_S = 0.5  # a look that comes later counts for no more: this process, or the whole machine, stood still meanwhile
FAILED = 1
"""The exit status of a front whose workers do not start."""


@dataclass
class _Worker:
    """A process that serves.

    Attributes:
        process: It.
        pipe: Gives a byte when it listens, and twice a second from then on. It notices at its end that we are gone.
        listens: Whether it does.
        silent_s: Time since it was started, or since the last byte.
    """

    process: SpawnProcess
    pipe: socket.socket
    listens: bool = False
    silent_s: float = 0.0


class Workers:
    """The processes of a front."""

    def __init__(
        self,
        options: FrontOptions,
        listener: socket.socket,
        began: Callable[[Sequence[int]], None],
        ends: Callable[[], None],
    ) -> None:
        """Start nothing yet.

        Args:
            options: How they serve.
            listener: The socket that they share.
            began: Called with the process ids whenever all of them listen.
            ends: Called when they are told to stop.
        """
        self._options = options
        self._listener = listener
        self._began = began
        self._ends = ends
        self._workers: dict[int, _Worker] = {}
        self._failures = 0
        self._looked_at = time.monotonic()
        self._signals = 0
        self._status = 0

    def run(self) -> int:
        """Run them until a signal ends them; returns the exit status."""
        with tempfile.TemporaryDirectory(prefix="nemotron-front-") as directory, _wake_on_signals() as signals:
            os.environ[DIRECTORY_VARIABLE] = directory
            resource_tracker.ensure_running()  # at its own start it unblocks signals, which is not to be between
            for _ in range(self._options.workers):
                self._start()
            while self._workers:
                known = {one.process.sentinel: one for one in self._workers.values()}
                pipes = {one.pipe: one for one in self._workers.values() if one.pipe.fileno() >= 0}
                for happened in wait([signals, *known, *pipes], _LOOK_S):
                    if happened is signals:
                        for number in signals.recv(64):
                            self._signal(number)
                    elif isinstance(happened, socket.socket):
                        self._heard(pipes[happened])
                    elif isinstance(happened, int):
                        self._ended(known[happened])
                self._look()
        return self._status

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        # Not a fork: the client's connections would not survive one.
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(self._options, self._listener, theirs), name="nemotron-front worker"
        )
        # It inherits this. SIGHUP waits until it is listened to. Ctrl-C in a terminal is for us, who tell it.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        theirs.close()
        assert process.pid is not None  # noqa: S101 - it was started
        self._workers[process.pid] = _Worker(process, ours)

    def _heard(self, worker: _Worker) -> None:
        try:
            heard = worker.pipe.recv(64)
        except OSError:
            heard = b""
        if not heard:  # it has ended, as its sentinel says too, or has said already
            worker.pipe.close()
            return
        worker.silent_s = 0.0
        if not worker.listens:
            worker.listens = True
            if all(one.listens for one in self._workers.values()) and not self._signals:
                self._failures = 0
                self._began(list(self._workers))

    def _look(self) -> None:
        """Kill those that hang: as the ended ones, they are started again."""
        now = time.monotonic()
        passed, self._looked_at = min(now - self._looked_at, _LATE_S), now
        for worker in self._workers.values():
            worker.silent_s += passed
            patience_s = self._options.hang_seconds if worker.listens else _START_S
            if patience_s and worker.silent_s > patience_s:
                said = f"has made no progress for {patience_s:g} s" if worker.listens else "does not start"
                _logger.warning("worker process %d %s", worker.process.pid, said)
                worker.process.kill()
                worker.silent_s = 0.0

    def _ended(self, worker: _Worker) -> None:
        process = worker.process
        assert process.pid is not None  # noqa: S101 - it was started
        process.join()
        worker.pipe.close()
        del self._workers[process.pid]
        mark_process_dead(process.pid)
        if self._signals:
            return
        _logger.warning("worker process %d ended with status %s", process.pid, process.exitcode)
        self._failures += 1
        if self._failures >= _MOST_FAILURES * self._options.workers:
            _logger.error("worker processes end again and again: stopping")
            self._status = FAILED
            self._stop_all()
            return
        time.sleep(_START_AGAIN_S)
        self._start()

    def _signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            for worker in self._workers.values():
                self._send(signal.SIGHUP, worker)
            return
        if self._signals:
            self._status = 128 + number
        self._stop_all()

    def _stop_all(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._ends()
        for worker in self._workers.values():
            self._send(signal.SIGTERM, worker)

    @staticmethod
    def _send(number: int, worker: _Worker) -> None:
        assert worker.process.pid is not None  # noqa: S101 - it was started
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process.pid, number)


def _work(options: FrontOptions, listener: socket.socket, pipe: socket.socket) -> None:
    """What a worker process does."""
    run.log_to_stderr(options)
    raise SystemExit(run.work(options, listener, lambda: None, lambda: None, pipe))


@contextlib.contextmanager
def _wake_on_signals() -> Iterator[socket.socket]:
    """A socket on which the numbers of the signals arrive that ask for something."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    descriptor = signal.set_wakeup_fd(theirs.fileno())
    held = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came before is taken now
    try:
        yield ours
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()
