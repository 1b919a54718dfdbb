"""Transports that play a script: they take the place of the network in `Client` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nemotron_client._contract import PREPROCESSING_MODEL
from nemotron_client._errors import NemotronError, ServerError, ServerUnavailableError, from_status, from_stream_error
from nemotron_client._transports import Call
from nemotron_client.testing._player import AsyncPlayer, Faulted, LeftError, Player, Values
from nemotron_client.testing._replies import Fault, RecordedRequest
from nemotron_client.testing._script import Replies, Scripted
from nemotron_client.testing._service import DESCRIPTION

URL = "grpc://mock.invalid:8001"


class MockTransport(Scripted):
    """Plays a script to a `Client`: `Client(transport=MockTransport(["Paris."]))`. Sends nothing.

    A request for which there is no reply raises UnscriptedRequestError where the request is made. See `Scripted` for
    how replies are chosen, and for what is recorded.
    """

    def __init__(self, replies: Replies = ()) -> None:
        super().__init__(replies)
        self.url = URL

    def open(self, call: Call) -> MockStream:
        """See `Transport.open`; also raises UnscriptedRequestError."""
        request = RecordedRequest.of(call)
        return MockStream(Player(self, request, self._take(request)), call)

    def post(self, call: Call, timeout_s: float, done: Callable[[], None]) -> None:  # noqa: ARG002
        """See `Transport.post`."""
        self._stop(call.request_id)
        done()

    def ask(self, call: Call, timeout_s: float) -> Values:  # noqa: ARG002 - the seam's name
        """See `Transport.ask`."""
        return _answer(self, call)

    def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        """See `Transport.is_live`."""
        return True

    def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        """See `Transport.is_ready`."""
        return self.ready

    def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        """See `Transport.metadata`."""
        return DESCRIPTION

    def close(self) -> None:
        """See `Transport.close`."""


class MockStream:
    """The responses to one call. See `ResponseStream`."""

    def __init__(self, player: Player, call: Call) -> None:
        self._player = player
        self._call = call

    def __iter__(self) -> MockStream:
        return self

    def __next__(self) -> Values:
        try:
            return _wanted(next(self._player), self._call)
        except (Faulted, LeftError) as end:
            raise _error(end, self._call.request_id) from None

    def abort(self) -> None:
        """See `ResponseStream.abort`."""
        self._player.leave()


class AsyncMockTransport(Scripted):
    """`MockTransport` for an `AsyncClient`: `AsyncClient(transport=AsyncMockTransport(["Paris."]))`."""

    def __init__(self, replies: Replies = ()) -> None:
        super().__init__(replies)
        self.url = URL

    def open(self, call: Call) -> AsyncMockStream:
        """See `AsyncTransport.open`; also raises UnscriptedRequestError."""
        request = RecordedRequest.of(call)
        return AsyncMockStream(AsyncPlayer(self, request, self._take(request)), call)

    async def post(self, call: Call, timeout_s: float) -> None:  # noqa: ARG002 - the seam's name
        """See `AsyncTransport.post`."""
        self._stop(call.request_id)

    async def ask(self, call: Call, timeout_s: float) -> Values:  # noqa: ARG002 - the seam's name
        """See `AsyncTransport.ask`."""
        return _answer(self, call)

    async def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        """See `AsyncTransport.is_live`."""
        return True

    async def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:  # noqa: ARG002
        """See `AsyncTransport.is_ready`."""
        return self.ready

    async def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        """See `AsyncTransport.metadata`."""
        return DESCRIPTION

    async def close(self) -> None:
        """See `AsyncTransport.close`."""


class AsyncMockStream:
    """The responses to one call. See `AsyncResponseStream`."""

    def __init__(self, player: AsyncPlayer, call: Call) -> None:
        self._player = player
        self._call = call

    def __aiter__(self) -> AsyncMockStream:
        return self

    async def __anext__(self) -> Values:
        try:
            return _wanted(await self._player.__anext__(), self._call)
        except (Faulted, LeftError) as end:
            raise _error(end, self._call.request_id) from None

    def abort(self) -> None:
        """See `AsyncResponseStream.abort`."""
        self._player.leave()


def _answer(script: Scripted, call: Call) -> Values:
    """What the server says to this; to the question whether it is ready, nothing."""
    if call.model == PREPROCESSING_MODEL:
        try:
            return script._tokenized(RecordedRequest.of(call).inputs)
        except LookupError:
            raise _error(Faulted(Fault.no_token(call.inputs["input_ids"])), call.request_id) from None
    return {"thinking_ends": script._end_thinking(call.request_id)} if "end_thinking" in call.inputs else {}


def _wanted(values: Values, call: Call) -> Values:
    return {name: values[name] for name in call.outputs if name in values}


def _error(end: Faulted | LeftError, request_id: str) -> NemotronError:
    """What the client would make of this end if it came over a network."""
    where = {"request_id": request_id, "url": URL}
    if isinstance(end, LeftError):
        return ServerUnavailableError(f"The request to {URL} was given up", **where)
    fault: Fault = end.fault
    if fault.kind == "error":
        return from_stream_error(fault.message_about(request_id), **where)
    if fault.kind == "status":
        return from_status(fault.status, fault.message, **where)
    if fault.kind == "garbage":
        return ServerError(f"{URL} answered what Triton would not: an event is no JSON object", **where)
    return from_status("UNAVAILABLE", "Socket closed", **where)
