"""SIGTERM, SIGINT and SIGHUP as an exception, raised only where the launcher waits."""

from __future__ import annotations

import queue
import signal
from types import FrameType, TracebackType


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

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            StopRequested: a signal came, now or since the last wait.
        """
        try:
            number = self._received.get(timeout=seconds)
        except queue.Empty:
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
