"""Callers of the edge that see all of an answer, whatever it is."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from tests.balancer.echo import Echo, echoing
from tests.balancer.envoy import KEYS, Balancer, Change, balancing

CHAT = "/v1/chat/completions"
GENERATE = "/v2/models/ensemble/generate"
SERVICE = "/inference.GRPCInferenceService/"
STREAM = f"{SERVICE}ModelStreamInfer"
# Keys of deploy/envoy/keys.example.yaml, by the names that they stand for there.
TEAM_A, NEXT_OF_TEAM_A, TEAM_B = "example-key-of-team-a", "example-next-key-of-team-a", "example-key-of-team-b"


@dataclass(frozen=True)
class Answer:
    """Of HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error in the shape of OpenAI's."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
        return str(error["code"])


@dataclass(frozen=True)
class Called:
    """What became of a gRPC call.

    Attributes:
        status: Name of the status.
        metadata: What came with the answer, first and last.
        messages: That came.
    """

    status: str
    metadata: dict[str, str]
    messages: list[Any]


@dataclass
class Edge:
    """An edge with two replicas that tell what has arrived.

    Attributes:
        balancer: The Envoy.
        echoes: The replicas.
    """

    balancer: Balancer
    echoes: list[Echo]

    def ask(
        self,
        path: str = CHAT,
        headers: Mapping[str, str] = {},
        *,
        key: str | None = TEAM_A,
        method: str = "POST",
        body: bytes | Iterator[bytes] = b"{}",
    ) -> Answer:
        """One request over HTTP on a connection of its own, the path as it is."""
        given = {"authorization": f"Bearer {key}"} if key else {}
        connection = http.client.HTTPConnection(urlsplit(self.balancer.http_url).netloc, timeout=90)
        with contextlib.closing(connection):
            chunked = not isinstance(body, bytes)
            if chunked:
                given["transfer-encoding"] = "chunked"
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # of what was refused before all was sent
                connection.request(method, path, body, {**given, **headers}, encode_chunked=chunked)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def call(self, path: str, metadata: Mapping[str, str] = {}, *, key: str | None = TEAM_A) -> Called:
        """One gRPC call on a connection of its own."""
        given = {"authorization": f"Bearer {key}"} if key else {}
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.balancer.address, options) as channel:
            call = channel.stream_stream(path)(
                iter([b"message"]), metadata=[*given.items(), *metadata.items()], timeout=120
            )
            messages, status = [], "OK"
            try:
                messages = [json.loads(message) for message in call]
            except grpc.RpcError as error:
                status = error.code().name
            found = dict([*call.initial_metadata(), *call.trailing_metadata()])
        return Called(status, found, messages)

    def seen(self) -> int:
        """How many requests have arrived at both."""
        return sum(len(echo.seen) for echo in self.echoes)

    def last(self) -> Any:
        """The only request since the lists were cleared."""
        (found,) = [seen for echo in self.echoes for seen in echo.seen]
        return found

    def clear(self) -> None:
        """Forget what has arrived."""
        for echo in self.echoes:
            echo.seen.clear()


@contextlib.contextmanager
def edge(directory: Path, change: Change | None = None) -> Iterator[Edge]:
    """An edge as it is shipped, with the keys of the example, until the block ends."""
    with (
        echoing("one") as one,
        echoing("two") as two,
        balancing([one.urls, two.urls], directory, change, keys=KEYS.read_text()) as balancer,
    ):
        yield Edge(balancer, [one, two])


@contextlib.contextmanager
def held_open(
    the_edge: Edge, metadata: Mapping[str, str] = {}
) -> Iterator[tuple[queue.SimpleQueue[bytes | None], Any]]:
    """A gRPC stream that has had one answer, until the block ends."""
    messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    given = {"authorization": f"Bearer {TEAM_A}", **metadata}
    with grpc.insecure_channel(the_edge.balancer.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(STREAM)(iter(messages.get, None), metadata=[*given.items()], timeout=120)
        messages.put(b"first")
        next(call)
        try:
            yield messages, call
        finally:
            messages.put(None)
