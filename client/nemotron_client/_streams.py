"""An answer that is being written, for threads."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any

from nemotron_client import _defaults
from nemotron_client._errors import NemotronError
from nemotron_client._exchange import CLOSED, ExchangeState, Living
from nemotron_client._request import ends_thinking
from nemotron_client._retries import Replicas
from nemotron_client._settings import Settings
from nemotron_client._transports import Call, Transport
from nemotron_client._types import Event, Reply, Usage
from nemotron_client._watch import Guarded, Watch


class Shared(Living):
    """What a client and its copies have in common.

    Attributes:
        transports: One for each replica.
        watch: The thread behind this client.
        running: Requests that have not ended, by their id.
    """

    def __init__(self, transports: Sequence[Transport], replicas: Replicas) -> None:
        self.transports = transports
        self.watch = Watch()
        self.running: dict[str, Exchange] = {}
        super().__init__(replicas)

    def close(self) -> None:
        """End the requests that run, let their cancels be sent, and close the connections."""
        if self.ended:
            return
        self.ended = CLOSED
        for exchange in list(self.running.values()):
            exchange.close()
        self.watch.close(_defaults.CLOSE_TIMEOUT_S)
        for transport in self.transports:
            transport.close()

    def at_exit(self) -> None:
        """See `Living`. What runs is told to stop, for nobody will read it."""
        self.close()

    def disown(self) -> None:
        """See `Living`."""
        super().disown()
        for exchange in self.running.values():
            exchange.disown()

    def __del__(self) -> None:
        self.watch.stop()


class ChatStream:
    """An answer that is being written: iterate over its events, then read `get_final()`.

    Leaving the `with` block early, `close`, or forgetting the stream cancels the answer on the server. One thread
    reads; any thread may close.

    Attributes:
        request_id: The request, as the server's log knows it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.request_id = exchange.request_id
        self._exchange = exchange
        self._events = exchange.events()

    @property
    def usage_so_far(self) -> Usage | None:
        """The token counts of what has come; None before the first response."""
        return self._exchange.state.usage

    @property
    def thinking_budget_reached(self) -> bool:
        """Whether the thinking was ended, by `max_thinking_tokens` or `end_thinking`, as far as is known yet."""
        return self._exchange.state.thinking_budget_reached

    @property
    def package(self) -> str:
        """The package that answers; empty before the first response, and where the server does not say."""
        return self._exchange.state.package

    @property
    def arrivals(self) -> tuple[tuple[float, int], ...]:
        """When each response with new tokens came, in seconds of `time.perf_counter`, and the output tokens so far."""
        return self._exchange.state.arrivals

    def __iter__(self) -> ChatStream:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def get_final(self) -> Reply:
        """Read to the end and return the whole answer.

        Raises:
            NemotronError: the answer did not come to its end; StreamClosedError if that is because of `close`.
        """
        for _ in self._events:
            pass
        return self._exchange.state.final()

    def end_thinking(self) -> bool:
        """Have the model answer now: close its thinking for it, and wait until the server has heard. From any thread.

        Returns:
            Whether the thinking ends by that, which mostly is at once; the reply then says `thinking_budget_reached`.
            False, and nothing is changed, where the model does not think, or not any more, or no token would be left
            for an answer, or the server does not have the request yet.

        Raises:
            NemotronError: the server cannot be asked.
        """
        return self._exchange.end_thinking()

    def close(self) -> None:
        """Stop reading, at once. An answer that has not ended is cancelled on the server."""
        self._exchange.close()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._exchange.close()


class Exchange:
    """Sends a request and reads its responses. Knows nothing of its ChatStream, whose end therefore is noticed."""

    def __init__(self, shared: Shared, settings: Settings, call: Call, response_format: Any) -> None:
        self.request_id = call.request_id
        self.state = ExchangeState(shared.replicas, settings, call, response_format)
        self._shared = shared
        self._settings = settings
        self._guarded = Guarded(self.state.deadline, weakref.WeakMethod(self._give_up))
        self._wake = threading.Event()  # ends the wait before a retry
        self._ended = False
        shared.check(call.request_id)
        shared.watch.start()
        self._send()
        shared.running[call.request_id] = self
        if shared.ended:  # in the meantime, by another thread that did not see this request
            self.close()

    @property
    def transport(self) -> Transport:
        """The connection to the server that has the request."""
        return self._shared.transports[self.state.replica]

    def events(self) -> Generator[Event, None, None]:
        """Read the responses as events, until the reply is whole."""
        state, watch = self.state, self._shared.watch
        try:
            while state.reply is None:
                try:
                    for values in self._responses:
                        yield from state.events_of(values)
                        state.deadline.waiting(time.perf_counter())
                        watch.look_at(self._guarded)
                    if state.reply is None:
                        raise state.ended_early()
                except NemotronError as error:
                    if state.reply is None:
                        self._try_again(error)
        except NemotronError as error:
            state.error = error
            raise
        finally:
            self.close()

    def end_thinking(self) -> bool:
        """See `ChatStream.end_thinking`."""
        if self._ended or self.state.over:
            return False
        return ends_thinking(self.transport.ask(self.state.end_thinking_call(), _defaults.CANCEL_TIMEOUT_S))

    def close(self) -> None:
        """End the request, from any thread, at once."""
        if self._ended:
            return
        self._ended = True
        if not self.state.over:
            self.state.closed = True
            self._give_up()
        self._guarded.done = True
        self._shared.running.pop(self.request_id, None)
        self.state.log_end()

    def disown(self) -> None:
        """Forget the request: it is another process's."""
        self._ended = True

    def _send(self) -> None:
        state = self.state
        call = state.prepare(self._settings.made_headers())
        try:
            self._responses = self.transport.open(call)
        except Exception:
            self._shared.check(call.request_id)  # another thread may have closed the client, and its connections
            raise
        state.deadline.sent(time.perf_counter())
        self._shared.watch.look_at(self._guarded)
        if state.given_up:  # in the meantime, when `_give_up` could not see these responses yet
            self._responses.abort()

    def _try_again(self, error: NemotronError) -> None:
        sequel = self.state.after(error)
        if sequel.also_stop is not None:
            self._cancel(sequel.also_stop)
        if sequel.error is not None:
            raise sequel.error
        if self._wake.wait(sequel.delay_s):
            raise self.state.reason()
        self._send()

    def _give_up(self) -> None:
        """Called by `close`, or by the watch when the deadline is reached."""
        self._wake.set()
        self._responses.abort()
        self._cancel(self.state.replica)

    def _cancel(self, replica: int) -> None:
        self._shared.watch.post(self._shared.transports[replica], self.state.cancel_call())
