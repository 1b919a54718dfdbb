"""Sessions for threads: one thread reads for all requests, and gRPC's own one for the stream sends."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from nemotron_client._errors import NemotronError
from nemotron_client._transports import grpc_codec as codec
from nemotron_client._transports.base import Call, ResponseStream
from nemotron_client._transports.session_codec import Session, Terms
from nemotron_client._transports.session_request import Command, Item, Note, SessionRequest, Turn

_CLOSING_S = 2.0  # how long the end of a session's thread is waited for


class SyncSession(Session):
    """A session on a channel of its own, which ends with it. See `Session`.

    What is to be sent, or ended, only goes into a SimpleQueue, whose `put` may be called by a finalizer.
    """

    def __init__(self, connect: Callable[[], Any], metadata: Any, terms: Terms) -> None:
        """Prepare.

        Args:
            connect: Makes its channel.
            metadata: Its headers, in gRPC's words.
            terms: See `Session`.
        """
        super().__init__(terms)
        self._connect = connect
        self._metadata = metadata
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._go: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._patient_until = math.inf

    def start(self) -> None:
        """See `Session.start`."""
        self._channel = self._connect()
        stream = self._channel.stream_stream(
            codec.STREAM,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        )
        self._patient_until = time.monotonic() + self.terms.patience_s
        compression = codec.compression(self.terms.compression)
        self._rpc = stream(self._messages(), metadata=self._metadata, compression=compression)
        thread = threading.Thread(target=self._run, name="nemotron-client-session", daemon=True)
        thread.start()
        self._thread = thread

    def send(self, command: Command) -> None:
        """See `Session.send`."""
        self._commands.put(command)
        if command is Note.END:
            self._go.put(None)

    def began(self) -> None:
        """See `Session.began`."""
        self._go.put(None)

    def close(self) -> None:
        """End it, and wait until nothing of it is left."""
        if self._thread is None:
            self.ended()
            return
        self._rpc.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSING_S)

    def abandon(self) -> None:
        """See `Session.abandon`."""
        self.send(Note.END)

    def patience_s(self) -> float | None:
        """How long to wait before a call of `be_late`; None for as long as it takes."""
        if self.key or self.over:
            return None
        return min(self.terms.patience_s, max(0.0, self._patient_until - time.monotonic()))

    def be_late(self) -> None:
        """Look whether the patience has come to an end."""
        if not self.key and not self.over and time.monotonic() >= self._patient_until:
            self.end(None)
            self.send(Note.END)

    def _run(self) -> None:
        try:
            for response in self._rpc:
                self.take(response)
                if self.over:
                    break
            else:
                self.ended()
        except grpc.RpcError as error:
            self.lost(error)
        finally:
            self.send(Note.END)
            self._rpc.cancel()
            self._channel.close()

    def _messages(self) -> Iterator[Any]:
        """What is sent, for gRPC's thread."""
        yield self.opening()
        self._go.get()
        yield from iter(self._next_message, None)  # whose own variables keep nothing alive while it waits
        self._rpc.cancel()

    def _next_message(self) -> Any:
        """What is to be sent next; None at the end."""
        message = None
        while message is None and (command := self._commands.get()) is not Note.END:
            message = self.message_for(command) if self.key else None
            del command
        return message


class SessionStream(SessionRequest):
    """The responses to a request that rides. See `ResponseStream`."""

    session: SyncSession

    def __init__(self, call: Call, open_elsewhere: Callable[[Call], ResponseStream]) -> None:
        """Prepare.

        Args:
            call: The request.
            open_elsewhere: Sends it the ensemble way, where the server turns out to have no sessions.
        """
        super().__init__(call)
        self._open_elsewhere = open_elsewhere
        self._elsewhere: ResponseStream | None = None
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()

    def put(self, item: Item) -> None:
        """See `SessionRequest.put`."""
        if item is Turn.ENSEMBLE:
            try:
                self._elsewhere = self._open_elsewhere(self.call)
            except (RuntimeError, ValueError):  # the channel is closed
                item = self.given_up()
            else:
                if self.left:  # in the meantime
                    self._elsewhere.abort()
        self._items.put(item)

    def __iter__(self) -> SessionStream:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._elsewhere is None:
            if self.left:
                raise self.given_up()
            item = self._next()
            if isinstance(item, dict):
                return self.values_of(item)
            if isinstance(item, NemotronError):
                self._items.put(item)
                raise item
            if item is Turn.OVER:
                self._items.put(item)
                raise StopIteration
        assert self._elsewhere is not None  # noqa: S101 - as the item says
        return next(self._elsewhere)

    def abort(self) -> None:
        """See `ResponseStream.abort`."""
        if self.left:
            return
        self.left = True
        if self._elsewhere is not None:
            self._elsewhere.abort()
            return
        self._items.put(self.given_up())
        self.session.leave(self)

    def _next(self) -> Item:
        while True:
            try:
                return self._items.get(timeout=self.session.patience_s())
            except queue.Empty:
                self.session.be_late()
