"""The COMMAND that nemotron-serve runs while it serves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping

from nemotron_serving.launcher.errors import SetupError

_TERM_S = 5.0


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
