"""What runs beside a test until a block ends: programs, and callers in threads."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator


def end(process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """End a program by SIGTERM, and by SIGKILL where that does not end it in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
