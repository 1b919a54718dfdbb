"""Grammars of the OpenVINO engine: which are compiled, by whom, and for how long they are kept.

OpenVINO GenAI compiles a grammar (0.05 to 1 s) in the first step of its request, and every other request waits for that
step. Here it is compiled before, in threads beside the steps, and the request is added when it is there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import psutil

from nemotron_serving.engine.base import EngineRequest
from nemotron_serving.errors import shortened

_log = logging.getLogger(__name__)

_THREADS = 2  # each compiles with eight of the library's own
_NICENESS = 10  # the steps go first; the library's threads inherit it
_PAUSE_S = 0.001  # in which those threads can take the interpreter's lock
_NEVER_S = 3600.0
_MOST_KEPT_BYTES = 128 * 2**20
_OVERFULL = 2


class Form(NamedTuple):
    """A grammar as `openvino_genai.StructuredOutputConfig` takes it: the name of an option, and its text."""

    option: str
    text: str


def form_of(request: EngineRequest) -> Form | None:
    """What has to be compiled for a request; None for nothing."""
    if request.guide is not None:
        return Form("grammar", request.guide)
    if request.sampling.bad_words:
        free_text = {"type": "any_text", "excludes": request.sampling.bad_words}
        return Form("structural_tags_config", json.dumps({"type": "structural_tag", "format": free_text}))
    return None


class GrammarError(Exception):
    """A grammar that the library cannot read."""


class Compiler(Protocol):
    """Compiles into a cache that the real pipeline shares."""

    def of_thread(self) -> Callable[[Form], None]:
        """What compiles in the thread that calls this. It raises RuntimeError for what it cannot read."""

    def clear(self) -> None:
        """Empty the cache. Nothing else may use it meanwhile."""


class Grammars:
    """What has been compiled, and the threads that compile the rest. All of it is the loop's but those threads.

    Attributes:
        news: A file descriptor that becomes readable when a grammar is done.
    """

    def __init__(self, compiler: Compiler, *, most_kept: int = 128) -> None:
        self._compiler = compiler
        self._most_kept = most_kept
        self.news, self._tell = os.pipe()
        self._outcomes: dict[Form, str | None] = {}  # None: it is there
        self._unclaimed: set[Form] = set()  # there, and those who wait for it do not know yet
        self._kept_bytes = 0
        self._overfull = False
        self._queue: dict[Form, None] = {}
        self._compiling: set[Form] = set()
        self._resident_bytes = 0  # when one of them was begun or done, the last time
        self._threads = 0
        self._jobs: queue.SimpleQueue[Form] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Form, str | None]] = queue.SimpleQueue()

    def ready(self, form: Form) -> bool:
        """Whether the pipeline finds it done; where not, it will be compiled.

        Raises:
            GrammarError: it cannot be compiled.
        """
        if self._overfull and not self._compiling and form not in self._unclaimed:
            return False
        if form in self._outcomes:
            error = self._outcomes[form]
            if error is not None:
                del self._outcomes[form]  # what was lacking may be there the next time
                raise GrammarError(error)
            self._unclaimed.discard(form)
            return True
        if form not in self._compiling:
            self._queue[form] = None
            self._begin()
        return False

    def forget(self, form: Form) -> None:
        """Nobody waits for it any more; what is being compiled already is finished."""
        self._queue.pop(form, None)
        self._unclaimed.discard(form)

    def take_news(self) -> None:
        """Learn what is done. To be called when `news` is readable, which it then is no more."""
        os.read(self.news, 1024)
        # What the steps have taken meanwhile counts as well; so the cache is emptied early rather than late.
        resident = _resident_bytes()
        self._kept_bytes += max(0, resident - self._resident_bytes)
        self._resident_bytes = resident
        while not self._done.empty():
            form, error = self._done.get()
            self._compiling.remove(form)
            self._outcomes[form] = error
            if error is None:
                self._unclaimed.add(form)
            else:
                _log.error("grammar refused: %s", shortened(error))

    def go_on(self, *, in_use: bool) -> None:
        """Between two steps: begin to compile what is due, and keep the cache from growing for ever.

        It is emptied when it is full, nothing is being compiled, and every request has found its grammar there. Should
        that moment not come by itself before twice as much is kept, it is made: nothing is begun any more.

        Args:
            in_use: Whether the pipeline has a request whose first step, which looks for the grammar, is still to come.
        """
        fullness = max(len(self._outcomes) / self._most_kept, self._kept_bytes / _MOST_KEPT_BYTES)
        self._overfull = fullness >= _OVERFULL
        if fullness >= 1 and not (self._compiling or self._unclaimed or in_use):
            self._compiler.clear()
            self._outcomes.clear()
            self._kept_bytes = 0
            self._overfull = False
        self._begin()
        if self._compiling:
            time.sleep(_PAUSE_S)

    def _begin(self) -> None:
        while self._queue and len(self._compiling) < _THREADS and not self._overfull:
            form = next(iter(self._queue))
            del self._queue[form]
            if not self._compiling:
                self._resident_bytes = _resident_bytes()
            self._compiling.add(form)
            self._jobs.put(form)
            if self._threads < len(self._compiling):
                self._threads += 1
                threading.Thread(target=self._work, name="nemotron-grammars", daemon=True).start()

    def _work(self) -> None:
        compile_form: Callable[[Form], None] | None = None
        while True:
            form = self._jobs.get()
            error = None
            try:
                if compile_form is None:
                    compile_form = self._compiler.of_thread()
                    with contextlib.suppress(OSError):  # forbidden: then the steps share their time
                        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.nice(0) + _NICENESS)
                compile_form(form)
            except Exception as failure:  # a full disk, say: the thread is needed for the next one
                error = str(failure) or type(failure).__name__
            self._done.put((form, error))
            os.write(self._tell, b"\0")


def share_the_interpreter() -> None:
    """Let no thread wait until one of low priority has taken the interpreter's lock from it.

    By default a thread that has waited for 5 ms is handed the lock, and the one that gives it goes on only when the
    other has run: on a busy machine not before everything of a higher priority. Without it the lock is given where a
    thread blocks, which the loop does between two steps.
    """
    sys.setswitchinterval(_NEVER_S)


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
