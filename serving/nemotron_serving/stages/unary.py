"""Calls that wait for one answer: many at once, and the place of a caller that left is free again.

A thread of a pool waits for each answer. One more thread asks, for all of them, whether their callers are still there:
see `nemotron_serving.generation.leaving`.
"""

from __future__ import annotations

import enum
import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from nemotron_serving.errors import EngineError, InvalidRequestError, UnavailableError

_log = logging.getLogger(__name__)

# Each waits in a thread of this process, and holds one of Triton's too. Containers often allow 1,024 or 2,048 for all.
MOST_CALLS = 320

# Each question is a round trip to Triton (45 µs of CPU on both sides), and a place has to be free within 200 ms.
_POLL_S = 0.1
_CODES = {kind.status: kind.triton_code for kind in (InvalidRequestError, UnavailableError, EngineError)}


class Call(Protocol):
    """One caller's request. Exactly one of `answer`, `confirm_cancel` and `fail` is called, once and last."""

    def ask(self) -> Any:
        """Have the request served and wait for the answer."""

    def is_cancelled(self) -> bool:
        """Whether the caller has gone. Never called at the same time as, or after, the answer."""

    def stop(self) -> None:
        """End what is going on for this call; `ask` then returns soon."""

    def answer(self, answer: Any) -> None:
        """Send what `ask` returned."""

    def confirm_cancel(self) -> None:
        """Tell Triton that the cancelled call has ended."""

    def fail(self, error: Exception) -> None:
        """Answer with an error."""


class _State(enum.Enum):
    NEW = enum.auto()  # no thread has taken it
    ASKED = enum.auto()
    LEFT = enum.auto()  # its caller has gone


class UnaryFront:
    """Serves calls at the same time, up to a limit."""

    def __init__(self, admitted: int) -> None:
        """Start without a call.

        Args:
            admitted: Requests that the package admits; what is taken here is bounded by MOST_CALLS too.
        """
        self._limit = limit = min(admitted, MOST_CALLS)
        self._calls: dict[Call, _State] = {}  # that wait for their answers
        self._lock = threading.Lock()  # guards that, and keeps questions about a call apart from its end
        self._workers = ThreadPoolExecutor(limit, "nemotron-unary")
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="nemotron-unary-watcher", daemon=True)
        self._watcher.start()

    def submit(self, call: Call) -> None:
        """Take a call and return at once.

        Raises:
            UnavailableError: too many wait for their answers, or the machine has no thread for one more.
        """
        with self._lock:
            if len(self._calls) >= self._limit:
                raise UnavailableError(
                    f"This server has {len(self._calls)} unary requests in flight, which is its limit; try again later"
                    f"{', or use the model ensemble' if self._limit == MOST_CALLS else ''}."
                )
            self._calls[call] = _State.NEW
        try:
            self._workers.submit(self._serve, call)
        except RuntimeError as error:  # no thread more is to be had; what the pool has kept of the call finds it gone
            with self._lock:
                if self._calls.get(call) is not _State.NEW:  # one of the threads that there are took it
                    return
                del self._calls[call]
            raise UnavailableError(
                "This server gets no more threads from its machine (pids.max or ulimit -u); try again later."
            ) from error

    def close(self) -> None:
        """Wait for the calls that are left and end the threads."""
        self._closing.set()
        self._watcher.join()
        self._workers.shutdown()

    def _serve(self, call: Call) -> None:
        with self._lock:
            if call not in self._calls:
                return
            if self._calls[call] is _State.NEW:
                self._calls[call] = _State.ASKED
        send: Callable[[], None]
        try:
            send = functools.partial(call.answer, call.ask())
        except Exception as error:
            send = functools.partial(call.fail, error)
        with self._lock:
            cancelled = self._calls.pop(call) is _State.LEFT
        try:
            (call.confirm_cancel if cancelled else send)()
        except Exception:
            _log.exception("answer not delivered")

    def _watch(self) -> None:
        while not self._closing.wait(_POLL_S):
            with self._lock:
                calls = [call for call, state in self._calls.items() if state is not _State.LEFT]
            for call in calls:
                try:
                    if self._has_left(call):
                        call.stop()
                except Exception:
                    _log.exception("call not stopped")

    def _has_left(self, call: Call) -> bool:
        with self._lock:
            if call in self._calls and call.is_cancelled():
                self._calls[call] = _State.LEFT
                return True
        return False


def triton_code(message: str) -> str:
    """The attribute of `pb_utils.TritonError` for an error that came from another model.

    Args:
        message: Its text, which is all that is left of it; it ends in a status, see `nemotron_serving.errors`.
    """
    status = message.rpartition("(")[2].removesuffix(")")
    return _CODES.get(status, EngineError.triton_code)
