"""What the user sees of a build: one line a step, with the time it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Report = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and of how much; a total of 0 is unknown."""


class Steps:
    """Reports the steps of a build on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    def say(self, message: str) -> None:
        """Print one line as it is."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def done(self, message: str) -> None:
        """Print the last line, with the time since the first."""
        self.say(f"{message} ({time.monotonic() - self._start:.1f} s)")

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show that something is going on, then how long it took."""
        start = time.monotonic()
        with self._console.status(what):
            yield
        self._finished(what, start)

    @contextmanager
    def progress(self, what: str) -> Iterator[Report]:
        """Show a step as a bar, with what is going on in it and how much is done.

        Yields:
            What to call with the progress.
        """
        start = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[doing]}"),
        )
        if not self._console.is_terminal:
            self.say(f"  {what} …")
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(what, total=None, doing="")
            yield lambda doing, done, total: progress.update(task, completed=done, total=total or None, doing=doing)
        self._finished(what, start)

    def _finished(self, what: str, start: float) -> None:
        self._console.print(
            f"[green]✓[/] {what} [dim]{time.monotonic() - start:.1f} s[/]", highlight=False, soft_wrap=True
        )
