"""What runs beside a test until a block ends: programs, and callers in threads."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_SPIN = "import os; os.sched_setaffinity(0, [{}]); print(flush=True)\nwhile True: pass"


def end(process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """End a program by SIGTERM, and by SIGKILL where that does not end it in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until the block ends; its stdout is read by nobody else."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            end(process)


@contextlib.contextmanager
def starving(pid: int) -> Iterator[None]:
    """Leave a process next to no CPU until the block ends: all its threads come after one that needs a whole CPU."""
    cpu = min(os.sched_getaffinity(0))
    with program(sys.executable, "-c", _SPIN.format(cpu)) as spinning:
        assert spinning.stdout is not None
        spinning.stdout.readline()
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), [cpu])
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
        yield


@contextlib.contextmanager
def repeating(works: Iterable[Callable[[], object]], *, pause: float = 0.0) -> Iterator[None]:
    """Do each of these again and again, in a thread of its own, until the block ends and each is done once more.

    Args:
        works: What they do; an exception ends a thread.
        pause: Seconds before each time.
    """
    over = threading.Event()

    def repeat(work: Callable[[], object]) -> None:
        while not over.wait(pause):
            work()

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
