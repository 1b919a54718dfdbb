"""A server in this process, which speaks what a real one speaks and plays a script."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from nemotron_client.testing._script import Replies, Scripted
from nemotron_client.testing._service import Service

if TYPE_CHECKING:
    from nemotron_client.testing._fake_grpc import GrpcFront
    from nemotron_client.testing._fake_http import HttpFront

_NOT_STARTED = "The fake server has no address yet, expected its use in a `with` block"


class FakeServer(Scripted):
    """Plays a script over gRPC and HTTP, on free ports of 127.0.0.1, for as long as its `with` block runs.

    with FakeServer(["It is Paris."]) as server, Client(server.grpc_url) as client:
        client.chat([{"role": "user", "content": "The capital of France?"}])

    For programs that make their client themselves, in this process or in another one. See `Scripted` for how replies
    are chosen, and for what is recorded. Requests are refused like a real server refuses them where a name, a type or
    a shape is wrong; sampling options and limits are recorded and have no effect. Leaving the block ends all
    connections and threads, and raises what went wrong with the script: UnscriptedRequestError, or what one of its
    functions has raised; the client gets InvalidRequestError and ServerError for these.

    Over gRPC it serves sessions, as the real server does; with `sessions=False` it has none, like a server of before.
    """

    def __init__(self, replies: Replies = (), *, sessions: bool = True) -> None:
        super().__init__(replies)
        self._sessions = sessions
        self._grpc_port = self._http_port = 0  # any free one
        self._fronts: tuple[Service, GrpcFront, HttpFront] | None = None

    @property
    def grpc_url(self) -> str:
        """For `Client(…)`, or the variable NEMOTRON_URL."""
        return f"grpc://127.0.0.1:{self._started(self._grpc_port)}"

    @property
    def http_url(self) -> str:
        """The same server over HTTP."""
        return f"http://127.0.0.1:{self._started(self._http_port)}"

    @property
    def metrics_url(self) -> str:
        """For `Client(…, metrics_url=…)`: the numbers of requests answered, failed and in flight."""
        return f"{self.http_url}/metrics"

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """In this `with` block nothing listens at the server's addresses: running streams break, new ones find none."""
        self._stop_fronts()
        try:
            yield
        finally:
            self._start_fronts()

    @contextlib.contextmanager
    def draining(self) -> Iterator[None]:
        """In this `with` block no new requests are taken and running ones come to their end, as in a shutdown."""
        if self._fronts is None:
            raise RuntimeError(_NOT_STARTED)
        service, _, _ = self._fronts
        service.drain()
        try:
            yield
        finally:
            service.resume()

    def __enter__(self) -> FakeServer:
        self._start_fronts()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop_fronts()
        if self._unexpected and error is None:
            raise self._unexpected[0]

    def _start_fronts(self) -> None:
        from nemotron_client.testing._fake_grpc import GrpcFront
        from nemotron_client.testing._fake_http import HttpFront

        service = Service(self, sessions=self._sessions)
        grpc_front = GrpcFront(service, self._grpc_port)
        try:
            http_front = HttpFront(service, self._http_port)
        except BaseException:
            grpc_front.stop()
            raise
        self._grpc_port, self._http_port = grpc_front.port, http_front.port
        self._fronts = service, grpc_front, http_front

    def _stop_fronts(self) -> None:
        if self._fronts is not None:
            service, grpc_front, http_front = self._fronts
            self._fronts = None
            service.close()
            grpc_front.stop()
            http_front.stop()

    def _started(self, port: int) -> int:
        if not port:
            raise RuntimeError(_NOT_STARTED)
        return port
