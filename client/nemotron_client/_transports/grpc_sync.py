"""gRPC for threads."""

from __future__ import annotations

import contextlib
import functools
import queue
import sys
import uuid
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.experimental
from tritonclient.grpc import service_pb2

from nemotron_client._contract import ENSEMBLE
from nemotron_client._errors import NemotronError, from_stream_error
from nemotron_client._transports import grpc_codec as codec
from nemotron_client._transports.base import Call, Connection
from nemotron_client._transports.session_pool import SessionPool
from nemotron_client._transports.session_sync import SessionStream, SyncSession


class GrpcTransport:
    """One channel to one server. See `Transport`."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.url = url
        self._caller = uuid.uuid4().hex
        _fit_gevent()
        # The thread that reads a stream then does so itself, which takes 40 % less of the processor than waiting for
        # the channel's thread to do it.
        own_thread = (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)
        options = codec.channel_options(connection)
        credentials = codec.credentials(connection.tls) if codec.is_secure(url) else None
        self._channel = _channel(url, credentials, [*options, own_thread])
        self._methods: dict[str, Any] = {}
        # One request, then half-close: on the wire the same as a stream of one request, without a thread to send it.
        self._stream = self._channel.unary_stream(
            codec.STREAM,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )
        self._answered = self._channel.unary_unary(
            codec.STREAM, request_serializer=service_pb2.ModelInferRequest.SerializeToString
        )

        # Without this transport, whose end therefore is noticed while its sessions are open.
        connect, caller = functools.partial(_channel, url, credentials, options), self._caller
        self._sessions = SessionPool(
            lambda terms: SyncSession(connect, codec.metadata(terms.headers, caller), terms), url, connection
        )
        weakref.finalize(self, self._sessions.abandon).atexit = False

    def open(self, call: Call) -> GrpcResponseStream | SessionStream:
        """See `Transport.open`. On a session, where the call is one for it and the server has them."""
        if call.model == ENSEMBLE:
            request = SessionStream(call, self._open)
            if self._sessions.add(request):
                return request
        return self._open(call)

    def _open(self, call: Call) -> GrpcResponseStream:
        rpc = self._stream(
            codec.infer_request(call),
            metadata=self._metadata(call),
            compression=codec.compression(call.compression),
        )
        return GrpcResponseStream(rpc, call, self.url, self._sessions.connection_lost)

    def post(self, call: Call, timeout_s: float, done: Callable[[], None]) -> None:
        """See `Transport.post`. A stop goes the way that its request has gone.

        The channel's own thread waits for the answer, so no other has to.
        """
        if self._sessions.stop(call, done):
            return
        request, options = (
            codec.infer_request(call),
            {"timeout": timeout_s, "metadata": self._metadata(call)},
        )
        try:
            self._answered.future(request, **options).add_done_callback(lambda _: done())
        except ValueError:  # the channel is closed
            done()
        except RuntimeError:  # that thread cannot be started any more, because the interpreter ends
            with contextlib.suppress(grpc.RpcError):
                list(self._stream(request, **options))
            done()

    def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        """See `Transport.ask`."""
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        if self._sessions.ask(call, answer.put):
            try:
                return answer.get(timeout=timeout_s)
            except queue.Empty:
                raise codec.no_answer(call, self.url) from None
        rpc = self._stream(codec.infer_request(call), timeout=timeout_s, metadata=self._metadata(call))
        values: dict[str, Any] = {}
        for values in GrpcResponseStream(rpc, call, self.url):  # noqa: B007 - the last ones
            pass
        return values

    def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `Transport.is_live`."""
        return bool(self._ask("ServerLive", service_pb2.ServerLiveRequest(), headers, timeout_s).live)

    def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `Transport.is_ready`."""
        if model:
            return bool(self._ask("ModelReady", service_pb2.ModelReadyRequest(name=model), headers, timeout_s).ready)
        return bool(self._ask("ServerReady", service_pb2.ServerReadyRequest(), headers, timeout_s).ready)

    def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `Transport.metadata`."""
        answer = self._ask("ServerMetadata", service_pb2.ServerMetadataRequest(), headers, timeout_s)
        config = None
        with contextlib.suppress(NemotronError):
            config = self._ask("ModelConfig", service_pb2.ModelConfigRequest(name=ENSEMBLE), headers, timeout_s)
        return codec.described(answer, config)

    def close(self) -> None:
        """See `Transport.close`."""
        for session in self._sessions.sessions():
            session.close()
        self._channel.close()

    def _metadata(self, call: Call) -> tuple[tuple[str, str], ...]:
        return codec.metadata(call.headers, self._caller)

    def _ask(self, method: str, request: Any, headers: Mapping[str, str], timeout_s: float) -> Any:
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(
                f"{codec.SERVICE}/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=getattr(service_pb2, f"{method}Response").FromString,
            )
        try:
            return self._methods[method](request, timeout=timeout_s, metadata=codec.metadata(headers))
        except grpc.RpcError as error:
            raise codec.rpc_error(error, "", self.url) from error


class GrpcResponseStream:
    """The responses to one call. See `ResponseStream`."""

    def __init__(self, rpc: Any, call: Call, url: str, lost: Callable[[], None] = lambda: None) -> None:
        self._rpc = rpc
        self._lost = lost
        self._request_id = call.request_id
        self._url = url
        self._read = codec.OutputReader(call)

    def __iter__(self) -> GrpcResponseStream:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            response = next(self._rpc)
        except grpc.RpcError as error:
            self._lost()
            raise codec.rpc_error(error, self._request_id, self._url) from error
        if response.error_message:
            raise from_stream_error(response.error_message, request_id=self._request_id, url=self._url)
        return self._read(response.infer_response)

    def abort(self) -> None:
        """See `ResponseStream.abort`."""
        with contextlib.suppress(grpc.RpcError):
            self._rpc.cancel()


def _channel(url: str, credentials: Any, options: Any) -> Any:
    if credentials is None:
        return grpc.insecure_channel(codec.target(url), options)
    return grpc.secure_channel(codec.target(url), credentials, options)


def _fit_gevent() -> None:
    """Where gevent has replaced the sockets, have gRPC wait its way too: else one call blocks all greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        _init_gevent()


@functools.cache
def _init_gevent() -> None:
    import grpc.experimental.gevent

    grpc.experimental.gevent.init_gevent()
