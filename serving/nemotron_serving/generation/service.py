"""Many requests over one engine: when each starts, cancel, deadlines.

One thread (the pump) owns all streams. The engine's thread and Triton's threads only put events into its queue,
so no stream needs a lock, the engine never waits for a receiver, and while the pump is busy sending, tokens gather
and share the next response.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence

from nemotron_serving.cgroups import cores
from nemotron_serving.clock import MACHINE_CLOCK, Clock
from nemotron_serving.contract import FinishReason
from nemotron_serving.engine import Delta, Engine
from nemotron_serving.errors import EngineError, ServingError, UnavailableError
from nemotron_serving.generation.admission import Admission
from nemotron_serving.generation.counting import RequestCounts, ServiceStats
from nemotron_serving.generation.delivery import Delivery, OwnOutlet
from nemotron_serving.generation.engine_check import EngineCheck
from nemotron_serving.generation.leaving import RequestName
from nemotron_serving.generation.queueing import Pace, WaitingRequests
from nemotron_serving.generation.response import Sink
from nemotron_serving.generation.session import FrameSink, Sessions
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.generation.stream import Outlet, Stream, Times
from nemotron_serving.heartbeat import Pulse
from nemotron_serving.host import RuntimeDir, StopRule
from nemotron_serving.metrics import Recorder
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.package import Limits

_log = logging.getLogger(__name__)

_TICK_S = 0.05  # deadlines, drain and departed receivers are looked at this often
_IDLE_TICK_S = 0.25  # without any request: whether the engine is to be closed

_Event = Callable[[], None]


class GenerationService:
    """Runs requests on an engine."""

    def __init__(
        self,
        engine: Engine,
        vocabulary: Vocabulary,
        limits: Limits,
        runtime_dir: RuntimeDir,
        stream_interval_ms: float | None = None,
        *,
        probe_id: str | None = None,
        stops: StopRule = "any",
        recorder: Recorder | None = None,
        clock: Clock = MACHINE_CLOCK,
    ) -> None:
        """Start the pump.

        Args:
            engine: Runs the requests.
            vocabulary: The package's vocabulary, to look for tags and stop words in the output.
            limits: How many requests run and wait.
            runtime_dir: What the launcher says, and hears.
            stream_interval_ms: Least time between two responses of a stream; None adapts it to the load.
            probe_id: Id of the launcher's own requests, see `HostOptions.probe_id`; None where there are none.
            stops: Whose stops end a request.
            recorder: Gets what is counted of requests, but for the launcher's own; None counts for nobody.
            clock: Gives the time.
        """
        self._clock = clock
        self._engine = engine
        self._vocabulary = vocabulary
        self._counts = RequestCounts(recorder or Recorder(most=0))
        self._check = EngineCheck(engine, clock.monotonic)
        self._batch_size = limits.max_batch_size
        self._runtime_dir = runtime_dir
        self._ids = itertools.count(1)
        self._admission = Admission(limits.max_in_flight, stops, probe_id, clock.monotonic)
        self._streams = self._admission.streams
        self._sessions = Sessions(vocabulary, clock.monotonic)
        interval_s = None if stream_interval_ms is None else stream_interval_ms / 1000
        pace = Pace(interval_s, cores() if engine.limits.on_cpu else None)
        self._delivery = Delivery(self._sessions, clock, pace, self._leave)
        self._events: queue.SimpleQueue[_Event] = clock.queue()
        self._waiting: WaitingRequests[Stream] = WaitingRequests(clock.monotonic)
        self._generating = 0  # streams that the engine has
        self._long_prefill: Stream | None = None
        self._next_tick = 0.0
        self._turns = 0
        self._closed = False
        self._pump = threading.Thread(target=self._run, name="nemotron-pump", daemon=True)
        self._pump.start()
        runtime_dir.engine_opened()

    def submit(
        self, client_id: str, prompt_ids: Sequence[int], settings: GenerationSettings, sink: Sink, caller: str = ""
    ) -> None:
        """Admit a request and return at once; its responses go to the sink.

        The launcher's own, known by its id, has a place of its own and counts as none. It waits for nobody and gets no
        token. Whether the engine works is seen by its pulse; when nothing is in flight it gets something to do.

        Args:
            client_id: The caller's id of the request, for stops and the log; may be empty.
            prompt_ids: Token ids.
            settings: What is asked.
            sink: Where responses go.
            caller: Whose stops end it, where stops are bound; empty for nobody's.

        Raises:
            UnavailableError: too many in flight, or shutting down.
            InvalidRequestError: a guide that no grammar can be made of.
        """
        names = (self._admission.name(client_id, caller),)
        self._admit(names, prompt_ids, settings, lambda: OwnOutlet(sink))

    def open_session(self, sink: FrameSink) -> None:
        """Begin a session; its frames go to the sink, first of all the one with its key.

        Raises:
            UnavailableError: too many are open, or the server is shutting down.
        """
        self._check_open()
        session = self._sessions.open(sink)
        self._events.put(functools.partial(self._delivery.begin, session))

    def submit_to_session(
        self, key: str, client_id: str, prompt_ids: Sequence[int], settings: GenerationSettings, caller: str = ""
    ) -> None:
        """Admit a request and return at once; its responses come with the session's frames. See `submit`.

        Raises:
            UnavailableError: as for `submit`; or the session is not here.
            InvalidRequestError: as for `submit`; or no id, or one that a request of the session has already.
        """
        names = (self._admission.name(client_id, caller), RequestName(key, client_id))
        self._admit(names, prompt_ids, settings, lambda: self._sessions.named(key))

    def acknowledge(self, key: str, number: int) -> None:
        """A session's client has read its frames up to this one.

        Raises:
            UnavailableError: the session is not here.
        """
        session = self._sessions.named(key)
        self._events.put(functools.partial(self._delivery.acknowledge, session, number))

    def _admit(
        self,
        names: tuple[RequestName, ...],
        prompt_ids: Sequence[int],
        settings: GenerationSettings,
        outlet: Callable[[], Outlet],
    ) -> None:
        try:
            self._check_open()
            stream, stopped = self._entered(names, prompt_ids, settings, outlet())
        except ServingError as error:
            if not self._admission.is_probe(names[0].id):
                self._counts.refused(settings, error)
            raise
        if stopped:
            self._events.put(functools.partial(self._end, stream, "cancelled"))
        else:
            begin = self._answer_probe if self._admission.is_probe(stream.client_id) else self._queue
            self._events.put(lambda: begin(stream))

    def _entered(
        self, names: tuple[RequestName, ...], prompt_ids: Sequence[int], settings: GenerationSettings, outlet: Outlet
    ) -> tuple[Stream, bool]:
        """The stream of a request that has a place now, and whether it was stopped already."""
        slot = self._admission.take_place(names)  # before any work is done, for a request that gets none
        now = self._clock.monotonic()
        try:
            stream = Stream(
                stream_id=next(self._ids),
                names=names,
                prompt_ids=list(prompt_ids),
                settings=settings,
                guide=settings.guide.grammar() if settings.guide else None,
                outlet=outlet,
                deadline=now + settings.timeout_ms / 1000,
                times=Times(now),
                engine=self._engine,
                vocabulary=self._vocabulary,
                new_id=lambda: next(self._ids),
                deliver=self._deliver,
                slot=slot,
            )
            return stream, self._admission.enter(stream)
        except BaseException:
            self._admission.give_back(slot, names)
            raise

    def stop(self, client_id: str, caller: str = "", session_key: str = "") -> bool:
        """Cancel the requests with this id; where stops are bound, those of this caller. Returns whether there was one.

        With a session's key it reaches that session's request alone.

        A stop that comes before its request is remembered for a short time. Clients ask by a stop for nothing whether
        the server shuts down, which Triton's own readiness does not tell.

        Raises:
            InvalidRequestError: no id, which names no request, or no caller where stops are bound.
            UnavailableError: there was none, and the server is shutting down, or too many such stops came; or the
                session is not here.
        """
        found = self._admission.find(self._meant(client_id, caller, session_key), self._check_stays)
        for stream in found:
            self._events.put(functools.partial(self._end, stream, "cancelled"))
        return bool(found)

    def end_thinking(
        self, tell: Callable[[bool], None], client_id: str, caller: str = "", session_key: str = ""
    ) -> None:
        """Have the requests with this id answer now, those that a `stop` would end. See `Stream.end_thinking`.

        Args:
            tell: Called once, from any thread, with whether there was one whose thinking ends by that.
            client_id: This and the rest as for `stop`, and so is what is raised where they name nothing.
            caller: See there.
            session_key: See there.
        """
        found = self._admission.named(self._meant(client_id, caller, session_key))
        if found and not self._closed:
            self._events.put(lambda: self._end_thinking(found, tell))
        else:
            tell(False)

    def stats(self) -> ServiceStats:
        """What goes on at this moment."""
        engine = self._engine.stats()
        in_flight = self._admission.in_flight
        running = min(engine.running, in_flight)
        waiting, leaving = in_flight - running, self._runtime_dir.leaving()
        return ServiceStats(in_flight, running, waiting, engine.kv_cache_used, len(self._sessions), leaving)

    def pulses(self) -> dict[str, Pulse]:
        """How the pump and the engine get on. The engine is busy while it has requests, also if it starts none."""
        self._events.put(lambda: None)  # the pump waits for events without end, and each is a turn
        engine = self._engine.stats()
        return {
            "delivery": Pulse(True, self._turns),
            "engine": Pulse(engine.running + engine.waiting > 0, engine.steps, self._engine.limits.step_s),
        }

    def close(self) -> None:
        """Cancel what runs, deliver the last responses, and end the pump. The engine is the caller's to close.

        A launcher that stops the server has the service close the engine itself, when nothing runs any more.
        """
        self._closed = True
        self._events.put(self._end_all)
        self._pump.join()

    def _meant(self, client_id: str, caller: str, session_key: str) -> RequestName:
        """See `Admission.meant`. Raises UnavailableError also where the session is not here."""
        name = self._admission.meant(client_id, caller, session_key, self._check_stays)
        if session_key:
            self._sessions.named(session_key)
        return name

    def _check_open(self, leaves: bool = False) -> None:
        if leaves or self._closed or self._runtime_dir.draining():
            raise UnavailableError("This server is shutting down and takes no new requests; try another one.")

    def _check_stays(self) -> None:
        self._check_open(self._runtime_dir.leaving())

    def _run(self) -> None:
        while True:
            self._handle_events()
            self._turns += 1
            self._start_waiting()  # those that came do not wait for what goes out to others
            now = self._clock.monotonic()
            if now >= self._next_tick:
                self._tick(now)
            self._delivery.send_due(math.inf if self._closed else now)
            self._start_waiting()  # those whose place became free by that
            if self._closed:
                self._delivery.end_all()
                if not self._streams:
                    return

    def _handle_events(self) -> None:
        try:
            event = self._events.get(timeout=self._patience())
        except queue.Empty:
            return
        # Only what is there now: an engine that never pauses must not keep the responses from being sent.
        waiting = self._events.qsize()
        event()
        for _ in range(waiting):
            self._events.get()()

    def _patience(self) -> float:
        if not self._streams:
            return _IDLE_TICK_S
        return max(0.0, min(self._next_tick, self._delivery.next_time()) - self._clock.monotonic())

    def _tick(self, now: float) -> None:
        self._next_tick = now + (_TICK_S if self._streams else _IDLE_TICK_S)
        cancelling = self._runtime_dir.cancelling()
        if cancelling:
            self._end_all()
        if not self._streams and self._runtime_dir.closing():
            self._close_engine()
        if len(self._sessions):
            leaving, draining = self._runtime_dir.leaving(), self._runtime_dir.draining()
            self._delivery.look_at_sessions(now, leaving=leaving, draining=draining, cancelling=cancelling)
        departed = self._runtime_dir.take_departures()
        for stream in list(self._streams.values()):
            if now >= stream.deadline:
                self._end(stream, "timeout")
            elif stream.number in departed or stream.outlet.is_cancelled():
                self._end(stream, "cancelled")

    def _deliver(self, stream: Stream, engine_id: int, delta: Delta) -> None:
        self._events.put(lambda: self._accept(stream, engine_id, delta))

    def _queue(self, stream: Stream) -> None:
        if not stream.finished:
            self._waiting.push(stream, stream.settings.priority, long=self._is_long(stream))
            self._next_tick = min(self._next_tick, self._clock.monotonic() + _TICK_S)  # and not before it is begun

    def _answer_probe(self, stream: Stream) -> None:
        if self._admission.in_flight == 0:
            self._check.begin(next(self._ids), stream.prompt_ids, stream.settings.stop_token_ids)
        self._end(stream, "length")

    def _is_long(self, stream: Stream) -> bool:
        return len(stream.prompt_ids) > self._engine.limits.max_num_tokens

    def _start_waiting(self) -> None:
        while self._generating < self._batch_size:
            stream = self._waiting.pop(long_allowed=self._long_prefill is None)
            if stream is None:
                return
            if stream.finished:  # it has not told its end yet
                continue
            self._generating += 1
            if self._is_long(stream):
                self._long_prefill = stream
            self._drive(stream, stream.start)

    def _accept(self, stream: Stream, engine_id: int, delta: Delta) -> None:
        self._drive(stream, lambda: stream.accept(engine_id, delta))
        if stream is self._long_prefill and stream.has_output:
            self._long_prefill = None

    def _leave(self, stream: Stream) -> None:
        """A stream has told its end, or nobody hears it: its place is another's."""
        if stream.error is not None:
            _log.error("request %r (stream %d) failed: %s", stream.client_id, stream.stream_id, stream.error)
        self._admission.leave(stream)
        if not self._admission.is_probe(stream.client_id):
            self._counts.over(stream, self._clock.monotonic())
        if stream.started:
            self._generating -= 1
        else:
            self._waiting.discard(stream)
        if stream is self._long_prefill:
            self._long_prefill = None

    def _drive(self, stream: Stream, action: _Event) -> None:
        """Let one stream act; whatever goes wrong in it is its own failure, not the pump's."""
        try:
            action()
        except EngineError as error:
            stream.fail(str(error))
        except Exception:
            _log.exception("request %r (stream %d)", stream.client_id, stream.stream_id)
            stream.fail("unexpected error, see the server's log")
        self._schedule(stream)

    def _end(self, stream: Stream, reason: FinishReason) -> None:
        stream.end(reason)
        self._schedule(stream)

    def _end_thinking(self, streams: list[Stream], tell: Callable[[bool], None]) -> None:
        ended: list[bool] = []
        for stream in streams:
            self._drive(stream, lambda stream=stream: ended.append(stream.end_thinking()))  # type: ignore[misc]
        try:
            tell(any(ended))
        except Exception:
            _log.exception("request %r: not told whether its thinking ends", streams[0].client_id)

    def _close_engine(self) -> None:
        """The launcher stops the server. Triton tells the models so too late, or never when a connection is open."""
        self._closed = True
        try:
            self._engine.close()
        except Exception:
            _log.exception("engine not closed")
        self._runtime_dir.engine_closed()

    def _end_all(self) -> None:
        for stream in list(self._streams.values()):
            self._end(stream, "cancelled")

    def _schedule(self, stream: Stream) -> None:
        if stream.stream_id in self._streams:
            stream.note_time(self._clock.monotonic())
            self._delivery.schedule(stream)
