"""The worker's loop with a pipeline and a compiler that do as they are told."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from openvino_genai import py_openvino_genai

from nemotron_serving.engine import Delta, EngineRequest, Sampling
from nemotron_serving.engine.openvino.engine import ORDERS, Abort, StepResult, Submit
from nemotron_serving.engine.openvino.grammars import Form, Grammars
from nemotron_serving.engine.openvino.worker import Loop
from tests.unit.serving.support import eventually

TOKEN = 7


class Handle:
    """A request in the pipeline: one token a step."""

    def __init__(self, max_tokens: int) -> None:
        self.left = max_tokens
        self.unread = 0
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def can_read(self) -> bool:
        return self.unread > 0

    def read(self) -> dict[int, Any]:
        reasons = py_openvino_genai.GenerationFinishReason
        output = SimpleNamespace(
            generated_ids=[TOKEN] * self.unread,
            generated_log_probs=[0.0] * self.unread,
            finish_reason=reasons.NONE if self.left else reasons.LENGTH,
        )
        self.unread = 0
        return {0: output}

    def get_status(self) -> Any:
        statuses = py_openvino_genai.GenerationStatus
        return statuses.RUNNING if self.left else statuses.FINISHED


class Pipeline:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.handles: dict[int, Handle] = {}
        self.tokens_given: dict[int, list[int]] = {}

    def add_request(self, request_id: int, ids: Any, config: Any) -> Handle:
        self.tokens_given.setdefault(request_id, []).append(ids.shape[1])
        self.handles[request_id] = Handle(config.max_new_tokens)
        return self.handles[request_id]

    def step(self) -> None:
        time.sleep(0.001)  # leaves the processor to the other threads
        for handle in self.handles.values():
            if handle.left and not handle.cancelled:
                handle.left -= 1
                handle.unread += 1

    def get_metrics(self) -> Any:
        return SimpleNamespace(scheduled_requests=1, cache_usage=0.0)


class Compiler:
    """Compiles what it is allowed to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.kept: set[str] = set()
        self.clears = 0
        self.errors: dict[str, Exception] = {"broken": RuntimeError("cannot be read")}
        self._allowed: dict[str, threading.Event] = {}

    def hold(self, guide: str) -> threading.Event:
        """Compiling it waits for the event."""
        self._allowed[guide] = threading.Event()
        return self._allowed[guide]

    def of_thread(self) -> Callable[[Form], None]:
        return self._compile

    def clear(self) -> None:
        self.clears += 1
        self.kept.clear()

    def _compile(self, form: Form) -> None:
        self.begun.append(form.text)
        if form.text in self._allowed:
            self._allowed[form.text].wait()
        if form.text in self.errors:
            raise self.errors[form.text]
        self.kept.add(form.text)


class Worker:
    """A loop in a thread, and this end of its connection."""

    def __init__(self, *, most_kept: int = 100, longest_compile_s: float = 600) -> None:
        self.pipeline, self.compiler = Pipeline(), Compiler()
        self._socket, theirs = socket.socketpair()
        self._connection = Connection(os.dup(self._socket.fileno()))
        self._deltas: dict[int, list[Delta]] = {}
        self.signs_of_life = 0
        grammars = Grammars(self.compiler, most_kept=most_kept)
        loop = Loop(self.pipeline, Connection(theirs.detach()), grammars, longest_compile_s=longest_compile_s)
        self._threads = [
            threading.Thread(target=_until_closed, args=(loop.run,), daemon=True),
            threading.Thread(target=_until_closed, args=(self._read,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request_id: int, guide: str | None = None, *, max_tokens: int = 2, prompt: int = 4) -> None:
        request = EngineRequest(request_id, [1] * prompt, max_tokens, Sampling(), frozenset((0,)), guide)
        self._send(Submit(request))

    def abort(self, request_id: int) -> None:
        self._send(Abort(request_id))

    def deltas(self, request_id: int) -> list[Delta]:
        return self._deltas.get(request_id, [])

    def ended(self, request_id: int) -> bool:
        return any(delta.finish_reason or delta.error for delta in self.deltas(request_id))

    def error(self, request_id: int) -> str | None:
        return self.deltas(request_id)[-1].error

    def goes_on(self, request_id: int) -> bool:
        """Whether it gets ten more tokens."""
        before = len(self.deltas(request_id))
        return eventually(lambda: len(self.deltas(request_id)) >= before + 10)

    def run(self, request_id: int, guide: str | None = None, **options: int) -> None:
        self.submit(request_id, guide, **options)
        assert eventually(lambda: self.ended(request_id))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _send(self, order: ORDERS) -> None:
        self._connection.send_bytes(msgspec.msgpack.encode(order))

    def _read(self) -> None:
        while True:
            result = msgspec.msgpack.decode(self._connection.recv_bytes(), type=StepResult)
            self.signs_of_life += 1
            for request_id, delta in result.deltas:
                self._deltas.setdefault(request_id, []).append(delta)


def _until_closed(work: Callable[[], None]) -> None:
    with contextlib.suppress(EOFError, OSError):
        work()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


ENDLESS = 1_000_000


def test_others_go_on_while_a_grammar_is_compiled(worker: Worker) -> None:
    compiled = worker.compiler.hold("slow")
    worker.submit(1, max_tokens=ENDLESS)
    worker.submit(2, "slow")
    assert eventually(lambda: worker.compiler.begun == ["slow"])
    assert worker.goes_on(1)
    worker.run(3)
    worker.run(4, "quick")
    assert not worker.deltas(2)
    compiled.set()
    assert eventually(lambda: worker.ended(2))
    assert [delta.token_ids for delta in worker.deltas(2)] == [[TOKEN], [TOKEN]]


def test_a_grammar_is_compiled_once_for_all_that_need_it(worker: Worker) -> None:
    compiled = worker.compiler.hold("same")
    for number in range(1, 4):
        worker.submit(number, "same")
    assert eventually(lambda: worker.compiler.begun == ["same"])
    compiled.set()
    assert eventually(lambda: all(worker.ended(number) for number in range(1, 4)))
    worker.run(4, "same")
    assert worker.compiler.begun == ["same"]


def test_a_request_that_leaves_does_not_wait_for_its_grammar(worker: Worker) -> None:
    compiled = worker.compiler.hold("slow")
    worker.submit(1, "slow")
    assert eventually(lambda: worker.compiler.begun == ["slow"])
    worker.abort(1)
    worker.run(1)  # the id is free again
    compiled.set()
    worker.run(2, "slow")
    assert worker.pipeline.tokens_given == {1: [4], 2: [4]}
    assert worker.compiler.begun == ["slow"]


def test_what_nobody_waits_for_is_not_compiled(worker: Worker) -> None:
    # As many as are compiled at once.
    held = [worker.compiler.hold(f"slow {number}") for number in range(2)]
    for number in range(2):
        worker.submit(number, f"slow {number}")
    assert eventually(lambda: len(worker.compiler.begun) == 2)
    worker.submit(4, "abandoned")
    worker.submit(5, "shared")
    worker.submit(6, "shared")
    worker.abort(4)
    worker.abort(5)
    worker.run(7)  # so the orders before it were taken
    for event in held:
        event.set()
    assert eventually(lambda: all(worker.ended(number) for number in (0, 1, 6)))
    assert "abandoned" not in worker.compiler.begun
    assert not worker.deltas(4) and not worker.deltas(5)


def test_a_grammar_that_cannot_be_read_fails_its_request_alone(worker: Worker) -> None:
    worker.submit(1, max_tokens=ENDLESS)
    worker.run(2, "broken")
    assert worker.error(2)
    assert worker.goes_on(1)
    worker.run(3, "whole")
    assert worker.error(3) is None


def test_a_disk_that_is_full_for_a_while_costs_no_more_than_the_requests_of_that_time(worker: Worker) -> None:
    worker.compiler.errors |= {f"form {number}": OSError("No space left on device") for number in range(4)}
    for number in range(4):
        worker.run(number, f"form {number}")
        assert worker.error(number)
    worker.compiler.errors.clear()
    worker.run(5, "form 0")
    assert worker.error(5) is None


def test_a_grammar_that_takes_too_long_is_refused_and_others_are_not() -> None:
    worker = Worker(longest_compile_s=0)
    compiled = worker.compiler.hold("endless")
    worker.submit(1, max_tokens=ENDLESS)
    worker.run(2, "endless")
    last = worker.deltas(2)[-1]
    assert last.refused and last.error is not None and "within 0 s" in last.error and "fewer" in last.error
    assert worker.goes_on(1)
    compiled.set()
    worker.close()


def test_a_grammar_that_takes_long_does_not_look_like_a_hang(worker: Worker) -> None:
    compiled = worker.compiler.hold("slow")
    worker.submit(1, "slow")
    assert eventually(lambda: worker.signs_of_life >= 2)
    assert not worker.deltas(1)
    compiled.set()
    assert eventually(lambda: worker.ended(1))


def test_a_long_prompt_is_prefilled_while_its_grammar_is_compiled(worker: Worker) -> None:
    compiled = worker.compiler.hold("slow")
    worker.submit(1, "slow", prompt=1200)
    assert eventually(lambda: worker.pipeline.tokens_given.get(1) == [512, 1024])
    assert worker.compiler.begun == ["slow"]
    compiled.set()
    assert eventually(lambda: worker.ended(1))
    assert worker.pipeline.tokens_given[1] == [512, 1024, 1200]


def test_a_full_cache_is_emptied_once_nobody_needs_what_is_in_it() -> None:
    worker = Worker(most_kept=2)
    compiled = worker.compiler.hold("slow")
    worker.submit(1, "slow")
    assert eventually(lambda: worker.compiler.begun == ["slow"])
    for number, guide in enumerate("bcde", start=10):
        worker.run(number, guide)
    worker.submit(4, "f")  # waits for room, which waits for the one that is being compiled
    worker.run(5, "b")
    worker.run(6)
    assert worker.compiler.clears == 0 and not worker.deltas(4)
    compiled.set()
    assert eventually(lambda: worker.ended(1) and worker.ended(4))
    assert worker.compiler.clears >= 1
    worker.run(7, "b")
    assert [worker.compiler.begun.count(guide) for guide in ("slow", "f", "b")] == [1, 1, 2]
    worker.close()


@pytest.mark.parametrize("distinct", [40])
def test_never_more_is_kept_than_has_room(distinct: int) -> None:
    worker = Worker(most_kept=8)
    most = 0
    for number in range(distinct):
        worker.run(number, f"grammar {number}")
        most = max(most, len(worker.compiler.kept))
    worker.close()
    assert most <= 8
