"""The person at the terminal: what nemotron-serve says, the signals that ask it to stop, the COMMAND in the foreground.

stdout belongs to the COMMAND. Nobody may be there to read: a terminal that was closed, a pipe that broke or a disk that
is full must not end a server.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TextIO

from nemotron_serving.launcher.errors import SetupError

_TERM_S = 5.0  # for a COMMAND to clean up, before it is killed


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


class StopRequested(Exception):
    """Somebody wants the server to end: a request, not an error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_status(self) -> int:
        """The status of a program that ended by this signal: 130 for ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class StopSignals:
    """While entered, collects the signals that ask the process to stop. For the main thread only."""

    def __init__(self) -> None:
        # The one queue whose put() may interrupt its own get(), as a signal handler does.
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._expected = False

    def expect(self) -> None:
        """Take the next signal as a request for what has begun without one: the second ends it at once."""
        self._expected = True

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            StopRequested: a signal came, now or since the last wait.
        """
        try:
            number = self._received.get(timeout=seconds)
        except queue.Empty:
            return
        if self._expected:
            self._expected = False
            return
        raise StopRequested(number)

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # nohup ignores SIGHUP, and means it.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._received.put(number)


class ChildCommand:
    """A command in the foreground: it has our terminal, stdin and stdout.

    Args:
        command: Program and arguments.
        environment: Variables added to ours.

    Raises:
        SetupError: it is no program for this machine, or there is not what it takes to start one.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        try:
            self._process = subprocess.Popen(command, env={**os.environ, **environment})
        except OSError as error:
            raise SetupError(f"COMMAND {command[0]} cannot be run: {error.strerror}.") from error

    def status(self) -> int | None:
        """Exit status as a shell gives it, 128 + n after signal n; None while the command runs."""
        status = self._process.poll()
        return None if status is None else _as_a_shell(status)

    def end(self, number: int, seconds: float, sleep: Callable[[float], None]) -> int:
        """Ask the command to end, and kill it when the time is up.

        Args:
            number: The signal that we got.
            seconds: Time for the command.
            sleep: Waits some seconds.

        Returns:
            Its exit status.
        """
        # A ctrl-C reached the command from the terminal; a second one would make many programs drop their work.
        if number != signal.SIGINT:
            self._process.send_signal(number)
        waited = 0.0
        while (status := self.status()) is None and waited < seconds:
            sleep(0.05)
            waited += 0.05
        if status is None:
            self.kill()
            status = _as_a_shell(self._process.returncode)
        return status

    def kill(self) -> None:
        """Give the command a last chance to clean up, then kill it."""
        self._process.terminate()
        try:
            self._process.wait(_TERM_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _as_a_shell(status: int) -> int:
    return 128 - status if status < 0 else status


def check_command(command: list[str]) -> None:
    """Refuse a command that cannot be started, before anything else is.

    Raises:
        SetupError: there is no such program, or it may not be run.
    """
    if shutil.which(command[0]) is None:
        found = os.path.isfile(command[0])
        raise SetupError(f"COMMAND {command[0]}: {'it is not executable' if found else 'there is no such program'}.")
