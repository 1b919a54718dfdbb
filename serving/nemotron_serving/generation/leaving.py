"""What happens when a caller leaves: it cancels its call, closes its connection, or dies. Told here for all ways in.

A model hears of it only where it asks Triton, an ensemble passes nothing on to a step that runs, and Triton's HTTP
front does not look at a connection before it answers. So it depends on the way in who notices, and when:

    way in                           noticed                 by whom
    `ensemble`, as a stream          at a next response,     `Postprocessor` asks for the response's own request,
      (gRPC, /generate_stream)         every 0.5 s at most     and tells it by `RuntimeDir.report_departure`
    `tensorrt_llm`, as a stream      within 0.05 s           the service's tick asks the sink
    a session, all its requests      within 0.1 s            `Delivery` asks the subscription, and ends them all
    `unary`, over gRPC               within 0.1 s            `UnaryFront` asks for all calls, and sends a stop
    these over gRPC, when the        20 s later at most      Triton asks each connection for a sign of life, see
      connection is cut unheard                                `launcher.triton_command`, and they see it closed
    one response from `ensemble`,    never                   nobody: it runs to its end or its deadline
      any one response over HTTP
    our client, in every way         at once                 the client itself sends a stop, whatever ends its call
                                                             early; when its process is killed, as for the others

All of them end in `GenerationService`: the stream ends as `cancelled`, the engine's request is aborted, and the place
is free within 200 ms. A stop is TensorRT-LLM's own: a second request, to `tensorrt_llm`, with the id of the first and
`stop` true, see `GenerationService.stop`. What a caller may expect is in docs/requests.md#cancelling, and attacks are
in tests/robustness: test_leaving.py, test_sessions.py.

This module holds the part that needs memory: stops whose request has not come yet, told apart from stops that come
after its end. A client that cancels at once sends its stop while the request is still in preprocessing. Anybody may
send stops for ids that no request will have. They are forgotten after seconds, and never push out those of others:
where there are too many, the newest is not remembered. That takes more stops than the server's front can receive in
the seconds for which they are kept.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

_VALID_S = 5.0
_LATE_S = 30.0  # how long after the end of a request a stop for it may still come
_MOST = 65_536  # of each kind: up to 50 MB if all ids are as long as they may be
_MOST_OF_A_CALLER = 4096


class RequestName(NamedTuple):
    """What a stop names: the id that a caller gave its request, and the caller, where stops are bound to it."""

    caller: str
    id: str


class EarlyStops:
    """Remembers stops by the request's name, for a short time and a bounded number."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        most: int = _MOST,
        most_of_a_caller: int = _MOST_OF_A_CALLER,
    ) -> None:
        self._clock = clock
        self._most = most
        self._most_of_a_caller = most_of_a_caller
        # By the time at which they are forgotten, which is the order in which they came.
        self._stopped: dict[RequestName, float] = {}
        self._finished: dict[RequestName, float] = {}
        self._of_caller: Counter[str] = Counter()

    def add(self, name: RequestName) -> bool:
        """A stop came for a request that is not in flight.

        Returns:
            False if there are too many to remember this one as well.
        """
        self._forget()
        if not name.id or name in self._finished:
            return True
        self._drop(name)
        of_caller = self._of_caller[name.caller] if name.caller else 0
        if len(self._stopped) >= self._most or of_caller >= self._most_of_a_caller:
            return False
        self._stopped[name] = self._clock() + _VALID_S
        self._of_caller[name.caller] += 1
        return True

    def take(self, name: RequestName) -> bool:
        """A request came: whether it was stopped already."""
        self._forget()
        self._finished.pop(name, None)
        return self._drop(name)

    def finished(self, name: RequestName) -> None:
        """A request has ended; a stop for it is late, not early."""
        if not name.id:
            return
        self._forget()
        self._finished.pop(name, None)
        if len(self._finished) >= self._most:
            del self._finished[next(iter(self._finished))]  # the stop of the oldest is the least likely to come
        self._finished[name] = self._clock() + _LATE_S

    def _forget(self) -> None:
        now = self._clock()
        while self._stopped and self._stopped[first := next(iter(self._stopped))] <= now:
            self._drop(first)
        while self._finished and self._finished[first := next(iter(self._finished))] <= now:
            del self._finished[first]

    def _drop(self, name: RequestName) -> bool:
        if self._stopped.pop(name, None) is None:
            return False
        self._of_caller[name.caller] -= 1
        if not self._of_caller[name.caller]:
            del self._of_caller[name.caller]
        return True
