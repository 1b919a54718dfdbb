"""What nemotron-serve says to the person at the terminal. stdout belongs to the COMMAND that it may run.

Nobody may be there to read: a terminal that was closed, a pipe that broke or a disk that is full must not end a server.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str) -> None:
    """Write a line, or several, to stderr."""
    write(sys.stderr, f"{text}\n")


def complain(text: str) -> None:
    """Write an error: the first line names the program, the others are indented."""
    say("nemotron-serve: " + text.strip().replace("\n", "\n  "))


def show(text: str) -> None:
    """Write a line that was asked for to stdout."""
    if not write(sys.stdout, f"{text}\n"):
        with suppress(OSError):  # else Python tries the rest again at its end, and says that it cannot
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(stream: TextIO, text: str) -> bool:
    """Write at once. Returns whether that was possible."""
    encoding = stream.encoding or "utf-8"
    try:
        # Names of files may hold what is no text.
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError:
        return False
    return True


def open_missing_streams() -> None:
    """Have stdin, stdout and stderr, where we were started without: else a port or a log would take their places."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for the life of the process
