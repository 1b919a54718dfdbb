"""gRPC for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import uuid
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2

from nemotron_client._contract import ENSEMBLE
from nemotron_client._errors import NemotronError, ServerError, ServerUnavailableError, from_stream_error
from nemotron_client._transports import grpc_codec as codec
from nemotron_client._transports.base import Call, Connection
from nemotron_client._transports.session_async import AsyncSession, AsyncSessionStream, task_is_cancelled
from nemotron_client._transports.session_codec import Terms
from nemotron_client._transports.session_pool import SessionPool


class AsyncGrpcTransport:
    """One channel to one server. See `AsyncTransport`."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.url = url
        self._caller = uuid.uuid4().hex
        self._options = codec.channel_options(connection)
        # Read at once: a file that is missing is an error of the constructor, as in `GrpcTransport`.
        self._credentials = codec.credentials(connection.tls) if codec.is_secure(url) else None
        self._sessions = SessionPool(self._maker(), url, connection)
        weakref.finalize(self, self._sessions.abandon).atexit = False

    @cached_property
    def _channel(self) -> Any:
        # Made by the first call, for it binds to the running loop.
        return _channel(self.url, self._credentials, self._options)

    @cached_property
    def _stream(self) -> Any:
        return self._channel.unary_stream(
            codec.STREAM,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )

    def open(self, call: Call) -> AsyncGrpcResponseStream | AsyncSessionStream:
        """See `AsyncTransport.open`. On a session, where the call is one for it and the server has them."""
        if call.model == ENSEMBLE:
            request = AsyncSessionStream(call, self._open)
            if self._sessions.add(request):
                return request
        return self._open(call)

    def _open(self, call: Call) -> AsyncGrpcResponseStream:
        rpc = self._stream(
            codec.infer_request(call),
            metadata=self._metadata(call),
            compression=codec.compression(call.compression),
        )
        return AsyncGrpcResponseStream(rpc, call, self.url, self._sessions.connection_lost)

    async def post(self, call: Call, timeout_s: float) -> None:
        """See `AsyncTransport.post`. A stop goes the way that its request has gone."""
        heard = asyncio.Event()
        if self._sessions.stop(call, heard.set):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), timeout_s)
            return
        with contextlib.suppress(grpc.RpcError, grpc.aio.UsageError):  # the latter: the channel is closed
            rpc = self._stream(codec.infer_request(call), timeout=timeout_s, metadata=self._metadata(call))
            while await rpc.read() is not grpc.aio.EOF:
                pass

    async def ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        """See `AsyncTransport.ask`."""
        answer: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        if self._sessions.ask(call, answer.put_nowait):
            try:
                return await asyncio.wait_for(answer.get(), timeout_s)
            except TimeoutError:
                raise codec.no_answer(call, self.url) from None
        rpc = self._stream(codec.infer_request(call), timeout=timeout_s, metadata=self._metadata(call))
        values: dict[str, Any] = {}
        async for values in AsyncGrpcResponseStream(rpc, call, self.url):  # noqa: B007 - the last ones
            pass
        return values

    async def is_live(self, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `AsyncTransport.is_live`."""
        return bool((await self._ask("ServerLive", service_pb2.ServerLiveRequest(), headers, timeout_s)).live)

    async def is_ready(self, model: str, headers: Mapping[str, str], timeout_s: float) -> bool:
        """See `AsyncTransport.is_ready`."""
        if model:
            request = service_pb2.ModelReadyRequest(name=model)
            return bool((await self._ask("ModelReady", request, headers, timeout_s)).ready)
        return bool((await self._ask("ServerReady", service_pb2.ServerReadyRequest(), headers, timeout_s)).ready)

    async def metadata(self, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        """See `AsyncTransport.metadata`."""
        answer = await self._ask("ServerMetadata", service_pb2.ServerMetadataRequest(), headers, timeout_s)
        config = None
        with contextlib.suppress(NemotronError):
            config = await self._ask("ModelConfig", service_pb2.ModelConfigRequest(name=ENSEMBLE), headers, timeout_s)
        return codec.described(answer, config)

    async def close(self) -> None:
        """See `AsyncTransport.close`."""
        for session in self._sessions.sessions():
            await session.close()
        if "_channel" in self.__dict__:
            await self._channel.close()

    def _maker(self) -> Callable[[Terms], AsyncSession]:
        # Without this transport, whose end therefore is noticed while its sessions are open.
        connect = functools.partial(_channel, self.url, self._credentials, self._options)
        caller = self._caller
        return lambda terms: AsyncSession(connect, codec.metadata(terms.headers, caller), terms)

    def _metadata(self, call: Call) -> tuple[tuple[str, str], ...]:
        return codec.metadata(call.headers, self._caller)

    async def _ask(self, method: str, request: Any, headers: Mapping[str, str], timeout_s: float) -> Any:
        call = self._channel.unary_unary(
            f"{codec.SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(service_pb2, f"{method}Response").FromString,
        )
        try:
            return await call(request, timeout=timeout_s, metadata=codec.metadata(headers))
        except grpc.RpcError as error:
            raise codec.rpc_error(error, "", self.url) from error


class AsyncGrpcResponseStream:
    """The responses to one call. See `AsyncResponseStream`."""

    def __init__(self, rpc: Any, call: Call, url: str, lost: Callable[[], None] = lambda: None) -> None:
        self._rpc = rpc
        self._lost = lost
        self._request_id = call.request_id
        self._url = url
        self._aborted = False
        self._read = codec.OutputReader(call)

    def __aiter__(self) -> AsyncGrpcResponseStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        try:
            response = await self._rpc.read()
        except grpc.RpcError as error:
            self._lost()
            raise codec.rpc_error(error, self._request_id, self._url) from error
        except asyncio.CancelledError:
            # gRPC raises this for a call that `abort` has ended, too: only the task's own end passes.
            if not self._aborted or task_is_cancelled():
                raise
            message = f"The request to {self._url} was given up"
            raise ServerUnavailableError(message, request_id=self._request_id, url=self._url) from None
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        if response is None:  # gRPC's word for a message that it cannot parse
            message = f"{self._url} sent a response that is not Triton's. Does a Triton server answer there?"
            raise ServerError(message, request_id=self._request_id, url=self._url)
        if response.error_message:
            raise from_stream_error(response.error_message, request_id=self._request_id, url=self._url)
        return self._read(response.infer_response)

    def abort(self) -> None:
        """See `AsyncResponseStream.abort`."""
        self._aborted = True
        self._rpc.cancel()


def _channel(url: str, credentials: Any, options: Any) -> Any:
    if credentials is None:
        return grpc.aio.insecure_channel(codec.target(url), options)
    return grpc.aio.secure_channel(codec.target(url), credentials, options)
