"""Processes that send for a master in another one: `python -m nemotron_loadtest.run.workers PORT USER`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from nemotron_loadtest.users import patched  # noqa: F401 - before all else

# isort: split
import gevent
from locust.env import Environment

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.run.distributed import WorkerSide
from nemotron_loadtest.users.locust_users import USERS

if TYPE_CHECKING:
    from locust.runners import MasterRunner

    from nemotron_loadtest.scenario import UserKind

_CONNECT_S = 60.0
_END_S = 5.0
_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def worker_processes(runner: MasterRunner, user: UserKind, count: int) -> Iterator[None]:
    """So many workers of a master on this machine, until the end of the block.

    Raises:
        LoadTestError: they do not come up.
    """
    command = [sys.executable, "-m", __name__, str(runner.server.port), user]
    # In a session of their own: ctrl-C is for the master, which tells them what to do.
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        until = time.monotonic() + _CONNECT_S
        while len(runner.clients.ready) < count:
            if any(process.poll() is not None for process in processes) or time.monotonic() > until:
                raise LoadTestError(f"{count} worker processes were started, {len(runner.clients.ready)} have come up")
            gevent.sleep(0.02)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def work(port: int, user: UserKind) -> None:
    """Be a worker until the master ends."""
    environment = Environment(user_classes=[USERS[user]])
    runner = environment.create_worker_runner(_LOOPBACK, port)
    WorkerSide(environment, runner)
    gevent.spawn(_end_with, os.getppid())
    runner.greenlet.join()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        gevent.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    work(int(sys.argv[1]), cast("UserKind", sys.argv[2]))
