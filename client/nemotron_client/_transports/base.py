"""The seam between the client and the network.

A transport carries a `Call` to one server and brings back its responses as plain Python values. It knows nothing of
chats, retries or replicas; what crosses the seam upwards is values by output name, or a `NemotronError`. The error
message of a model goes through `_errors.from_stream_error`, the same for every transport.

Every transport is constructed as `HttpTransport(url, connection)` and `AsyncHttpTransport(url, connection)`: the
server's URL with its scheme and a `Connection`. Constructing sends nothing and needs no running event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nemotron_client._defaults import (
    CONNECT_TIMEOUT_S,
    KEEPALIVE_TIME_S,
    KEEPALIVE_TIMEOUT_S,
    SESSION_MAX_AGE_S,
    SESSIONS,
)


@dataclass(frozen=True)
class Call:
    """One request to one model. Shown without what was said and without what may be a token.

    Attributes:
        model: The model's name on the server.
        request_id: The name of the request in the server's log, and what a cancel says.
        inputs: Values by tensor name: bool, int, float or str, or a list of one of them. Each becomes a tensor of
            shape [1, n]. `_contract.DTYPES` says the type of each name.
        outputs: The output tensors wanted; each response has these, but for `_contract.OCCASIONAL_OUTPUTS`, which it
            has when they say something.
        headers: Sent along, as HTTP headers or as gRPC metadata. Names are in lower case.
        compression: `gzip`, or None.
    """

    model: str
    request_id: str
    inputs: Mapping[str, Any] = field(repr=False)
    outputs: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: str | None = None


@dataclass(frozen=True)
class Tls:
    """Files in PEM format for `grpcs://` and `https://`; none is needed for a server with a public certificate.

    Attributes:
        ca: The authorities to trust, in place of the system's.
        cert: The client's certificate chain, for a server that asks for one (mTLS).
        key: The key of `cert`.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("Tls: cert and key belong together, expected both or none")


@dataclass(frozen=True)
class Connection:
    """How to connect to a server.

    Attributes:
        tls: Certificates, for `grpcs://` and `https://`.
        connect_timeout_s: How long a connection may take to stand; None waits as long as the system does. Longer
            raises RequestTimeoutError with the phase `connect`.
        keepalive_time_s: A connection with a running request that is silent this long is asked for a sign of life.
        keepalive_timeout_s: A connection without a sign of life for this long counts as broken: ServerUnavailableError.
        sessions: Over gRPC, how many sessions there are at most, each with a connection of its own; 0 for none.
        session_max_age_s: A session that is older takes no further request.
    """

    tls: Tls | None = None
    connect_timeout_s: float | None = CONNECT_TIMEOUT_S
    keepalive_time_s: float = KEEPALIVE_TIME_S
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S
    sessions: int = SESSIONS
    session_max_age_s: float = SESSION_MAX_AGE_S

    def __post_init__(self) -> None:
        if isinstance(self.sessions, bool) or not isinstance(self.sessions, int) or self.sessions < 0:
            raise ValueError(f"sessions: {self.sessions!r} was given, expected a whole number, 0 for none")
        if not self.session_max_age_s > 0:
            raise ValueError(f"session_max_age_s: {self.session_max_age_s!r} was given, expected seconds above 0")


class ResponseStream(Protocol):
    """The responses to a call: each is a dict of values by output name. Ends after the last one.

    `__next__` is called by one thread at a time and raises a NemotronError when the call fails.
    """

    def __iter__(self) -> ResponseStream: ...

    def __next__(self) -> dict[str, Any]: ...

    def abort(self) -> None:
        """Give the call up, from any thread and any number of times, without ever blocking.

        A `__next__` that waits raises a NemotronError promptly; the caller knows why it aborted and raises its own
        in its place. Does not stop the request on the server (`Transport.post` does). No effect after the end.
        """


class Transport(Protocol):
    """A connection to one server, thread-safe: calls run side by side."""

    url: str

    def open(self, call: Call) -> ResponseStream:
        """Start a call, whose inputs are checked already.

        Returns at once; that the server cannot be reached is said by the first `__next__`.
        """

    def post(self, call: Call, timeout_s: float, done: Callable[[], None]) -> None:
        """Send a call whose answer nobody reads (a cancel). Returns at once and raises nothing.

        Args:
            call: The call; errors are swallowed.
            timeout_s: When to give up.
            done: Called once, from any thread, when the server has answered or the call has failed.
        """

    def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        """Send a call, wait for its end, and return the outputs of its last response; none where none came.

        A call about a request, which has that one's id, goes to the server that has it.

        Raises:
            NemotronError: what the call ends with; RequestTimeoutError if that takes longer than it may.
        """

    def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:
        """Whether the server's process answers. Raises NemotronError where it cannot be reached."""

    def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:
        """Whether Triton says that this model, or for "" the server, is ready. Raises NemotronError like `is_live`."""

    def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """What the server says of itself: `name`, `version`, `extensions`, and the `parameters` of its ensemble.

        Parameters that cannot be had are none: another server may not have them, or not show them.
        """

    def close(self) -> None:
        """End the connection; running calls raise a NemotronError."""


class AsyncResponseStream(Protocol):
    """`ResponseStream` for asyncio. A `__anext__` that is cancelled leaves nothing behind."""

    def __aiter__(self) -> AsyncResponseStream: ...

    async def __anext__(self) -> dict[str, Any]: ...

    def abort(self) -> None:
        """Give the call up, from the loop's thread, any number of times, without waiting."""


class AsyncTransport(Protocol):
    """`Transport` for asyncio. Binds to the event loop of its first call."""

    url: str

    def open(self, call: Call) -> AsyncResponseStream:
        """Start a call from within the loop, without waiting for anything."""

    async def post(self, call: Call, timeout_s: float) -> None:
        """Send a call whose answer nobody reads (a cancel), and return once it is answered. Raises nothing."""

    async def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        """See `Transport.ask`."""

    async def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `Transport.is_live`."""

    async def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `Transport.is_ready`."""

    async def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `Transport.metadata`."""

    async def close(self) -> None:
        """See `Transport.close`."""
