"""The process that runs OpenVINO GenAI's continuous batching: paged KV cache, prefix cache, in-flight batching.

A process of its own, because `ContinuousBatchingPipeline.step` holds Python's interpreter lock for its whole
length (tens of milliseconds): in the generating model's process it would hold up every response and new request.

Started as `python -m nemotron_serving.engine.openvino.worker FD`, where FD is a connected socket. What goes over it is
said in the module `engine` beside this one; while steps give nothing, a `StepResult` goes out twice a second. The end
of the socket ends the process.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from nemotron_serving.cgroups import available_memory, paid_cores
from nemotron_serving.engine.base import Delta, EngineRequest, Sampling
from nemotron_serving.engine.openvino.cpu import default_kv_cache_gib, default_threads
from nemotron_serving.engine.openvino.engine import ORDERS, Ready, Refused, Start, StepResult, Submit
from nemotron_serving.engine.openvino.grammars import Form, GrammarError, Grammars, form_of, share_the_interpreter
from nemotron_serving.engine.openvino.library import (
    MAX_BATCHED_TOKENS,
    TokenizerCompiler,
    add_request,
    has_ended,
    open_pipeline,
    read_output,
    warm_up,
)
from nemotron_serving.errors import PackageError, shortened
from nemotron_serving.package import Package

_log = logging.getLogger(__name__)

_FAILED = "The engine failed; the server's log says why."
_REFUSED = "The engine refused the request; the server's log says why."
_TOO_LONG = "its grammar was not prepared within {} s; ask for less at once: fewer alternatives, shorter counts"
_QUIET_S = 0.5  # a long prompt, or a grammar that is compiled, gives nothing for many steps
_GRAMMAR_BYTES_A_STEP = 32 * 1024  # a step reads the texts of those that begin in it, at 1.5 ms a KiB
_WATCHED_PAUSE_S = 0.002  # ends with the first order; a step takes 10 ms and more


def main() -> None:
    """Serve the socket whose number is the only argument."""
    connection = Connection(int(sys.argv[1]))
    try:
        start = msgspec.msgpack.decode(connection.recv_bytes(), type=Start)
        try:
            package = Package.load(Path(start.package))
            kv_cache_gib = start.kv_cache_gib or default_kv_cache_gib(available_memory())
            pipeline = open_pipeline(package, kv_cache_gib, start.threads or default_threads(paid_cores()))
            kv_cache_tokens, step_s = warm_up(pipeline, package, kv_cache_gib)
        except PackageError as error:
            connection.send_bytes(msgspec.msgpack.encode(Refused(str(error))))
            return
        grammars = Grammars(TokenizerCompiler(pipeline, package.engine_path))
        connection.send_bytes(msgspec.msgpack.encode(Ready(kv_cache_tokens, MAX_BATCHED_TOKENS, step_s)))
        share_the_interpreter()
        Loop(pipeline, connection, grammars).run()
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return


@dataclass
class _Running:
    """A request that the pipeline has, or a part of whose prompt it has.

    Attributes:
        request: What to generate.
        handle: The pipeline's handle. While `prefilled` is short of the prompt, it is that of a part of it.
        prefilled: Tokens of the prompt that the pipeline was given.
        emitted: Output tokens so far.
        form: The request's grammar, or None.
    """

    request: EngineRequest
    handle: Any = None
    prefilled: int = 0
    emitted: int = 0
    form: Form | None = field(init=False)

    def __post_init__(self) -> None:
        self.form = form_of(self.request)

    def next_part(self) -> EngineRequest:
        """What to add to the pipeline next.

        OpenVINO processes prompts in the order they came, so a long one would hold up all that come after it for as
        long as its prefill takes. In parts of one step each, whose tokens stay in the prefix cache, others get their
        turn between two of them.
        """
        prompt_ids = self.request.prompt_ids
        self.prefilled += MAX_BATCHED_TOKENS
        if self.prefilled >= len(prompt_ids):
            self.prefilled = len(prompt_ids)
            return self.request
        part = prompt_ids[: self.prefilled]
        return EngineRequest(self.request.request_id, part, 1, Sampling(), self.request.stop_token_ids)

    @property
    def watched(self) -> bool:
        """Whether the caller may abort the request after any token now."""
        first, last = self.request.watched or (0, -1)
        return first <= self.emitted <= last

    @property
    def prefilling(self) -> bool:
        """Whether the handle is that of a part of the prompt, whose output is nobody's."""
        return self.prefilled < len(self.request.prompt_ids)

    @property
    def looks_for_grammar(self) -> bool:
        """Whether the pipeline has yet to find the grammar, which it does in the step that gives the first token."""
        return self.form is not None and not self.prefilling and not self.emitted


class _Waiting(NamedTuple):
    """A request whose last part waits for its grammar, and the time since when. The pipeline does not know it."""

    running: _Running
    form: Form
    since: float


class Loop:
    """Takes orders between two steps, and hands out what a step gave."""

    def __init__(
        self, pipeline: Any, connection: Connection, grammars: Grammars, *, longest_compile_s: float = 60
    ) -> None:
        self._pipeline = pipeline
        self._connection = connection
        self._grammars = grammars
        self._longest_compile_s = longest_compile_s
        self._running: dict[int, _Running] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._deltas: list[tuple[int, Delta]] = []
        self._cancelled = False  # a cancelled request keeps its KV cache until the next step
        self._told = time.monotonic()

    def run(self) -> None:
        """Work until the pipeline has failed.

        Raises:
            EOFError: the other end has closed the connection.
        """
        alive = True
        while alive:
            self._take_orders()
            self._begin_waiting()
            if self._running or self._cancelled:
                alive = self._step()
            quiet = time.monotonic() - self._told >= _QUIET_S
            if self._deltas or (quiet and (self._running or self._waiting)):
                self._hand_out()

    def _take_orders(self) -> None:
        patience = self._patience()
        while self._has_order(patience):
            patience = 0
            order = msgspec.msgpack.decode(self._connection.recv_bytes(), type=ORDERS)
            if isinstance(order, Submit):
                self._add(_Running(order.request))
            elif running := self._running.pop(order.request_id, None):
                running.handle.cancel()
                self._cancelled = True
                self._forget_grammar(running.form)
                if running.watched:  # its successor is on its way
                    self._connection.poll(_WATCHED_PAUSE_S)
            elif waiting := self._waiting.pop(order.request_id, None):
                self._forget_grammar(waiting.form)

    def _patience(self) -> float | None:
        """How long to wait for something to do; None is for ever."""
        if self._running or self._cancelled or self._deltas:
            return 0
        return _QUIET_S if self._waiting else None

    def _has_order(self, patience: float | None) -> bool:
        """Whether there is an order, now or soon. A grammar that is done ends the wait too."""
        came = wait([self._connection, self._grammars.news], patience)
        if self._grammars.news in came:
            self._grammars.take_news()
        return self._connection in came

    def _begin_waiting(self) -> None:
        """Add the requests whose grammars are done, in the order they came."""
        self._grammars.go_on(in_use=any(running.looks_for_grammar for running in self._running.values()))
        room = _GRAMMAR_BYTES_A_STEP
        for request_id, (running, form, since) in list(self._waiting.items()):
            try:
                ready = room > 0 and self._grammars.ready(form)
            except GrammarError:
                self._refuse(request_id, Delta([], error=_REFUSED))
                continue
            if ready:
                room -= len(form.text)
                del self._waiting[request_id]
                self._hand_over(running, running.request)
            elif time.monotonic() - since > self._longest_compile_s:
                reason = _TOO_LONG.format(self._longest_compile_s)
                self._refuse(request_id, Delta([], error=reason, refused=True))

    def _refuse(self, request_id: int, delta: Delta) -> None:
        """End a request that waits for its grammar."""
        waiting = self._waiting.pop(request_id)
        self._deltas.append((request_id, delta))
        self._forget_grammar(waiting.form)

    def _forget_grammar(self, form: Form | None) -> None:
        """Do not compile the grammar of a request that has left, unless another one needs it."""
        needed = [one.form for one in self._waiting.values()] + [one.form for one in self._running.values()]
        if form is not None and form not in needed:
            self._grammars.forget(form)

    def _add(self, running: _Running) -> None:
        """Add the next part of a request, or let it wait for its grammar, which the last part needs."""
        request = running.next_part()
        if running.form is None:
            self._hand_over(running, request)
        elif running.prefilling:
            with contextlib.suppress(GrammarError):  # is told when the last part comes
                self._grammars.ready(running.form)
            self._hand_over(running, request)
        else:
            self._running.pop(request.request_id, None)
            self._waiting[request.request_id] = _Waiting(running, running.form, time.monotonic())

    def _hand_over(self, running: _Running, request: EngineRequest) -> None:
        """Give the pipeline a request, all of it or a part."""
        self._running[request.request_id] = running
        try:
            running.handle = add_request(self._pipeline, request)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            del self._running[request.request_id]
            _log.error("request refused: %s", shortened(str(error)))
            self._deltas.append((request.request_id, Delta([], error=_REFUSED)))

    def _step(self) -> bool:
        """Run one step; False if the pipeline has failed, which it does not survive."""
        self._cancelled = False
        try:
            self._pipeline.step()
        except RuntimeError:
            _log.exception("the pipeline failed")
            self._deltas += [(number, Delta([], error=_FAILED)) for number in (*self._running, *self._waiting)]
            return False
        for running in list(self._running.values()):
            self._read(running)
        return True

    def _read(self, running: _Running) -> None:
        """Take what the step gave a request; after a part of the prompt, go on with the next."""
        if running.prefilling:
            if has_ended(running.handle):
                self._add(running)
            return
        delta = read_output(running.handle, running.request)
        if delta is None:
            return
        if delta.finish_reason or delta.error:
            del self._running[running.request.request_id]
        running.emitted += len(delta.token_ids)
        self._deltas.append((running.request.request_id, delta))

    def _hand_out(self) -> None:
        """Send what has come together, or a sign of life; then wait a moment for the order that it may bring."""
        metrics = self._pipeline.get_metrics()
        result = StepResult(self._deltas, metrics.scheduled_requests, metrics.cache_usage / 100)
        self._connection.send_bytes(msgspec.msgpack.encode(result))
        self._deltas = []
        self._told = time.monotonic()
        if any(running.watched for running in self._running.values()):
            self._connection.poll(_WATCHED_PAUSE_S)


if __name__ == "__main__":
    main()
