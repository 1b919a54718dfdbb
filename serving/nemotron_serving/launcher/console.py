"""What nemotron-serve says to the person at the terminal. stdout belongs to the COMMAND that it may run."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write a line, or several, to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """Write an error: the first line names the program, the others are indented."""
    say("nemotron-serve: " + text.strip().replace("\n", "\n  "))
