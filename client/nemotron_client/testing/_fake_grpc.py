"""The fake server's gRPC side: the part of Triton's service that clients of this stack use."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from nemotron_client._contract import Tensor
from nemotron_client._transports.grpc_codec import decode, encode
from nemotron_client.testing._player import Faulted, Running, Values
from nemotron_client.testing._replies import Fault
from nemotron_client.testing._service import DESCRIPTION, Arrival, Models, Service, unknown_model

_SERVICE = "inference.GRPCInferenceService"
# A stream takes a thread while it runs, one with a session three and one for each request that it has not accepted yet.
_MAX_STREAMS = 1000
# What is waiting for a further request on its stream is ended after so long.
_GRACE_S = 0.2
# Where a request has values that it does not send as bytes, by Triton's type.
_CONTENTS = {
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
    "FP32": "fp32_contents",
    "INT32": "int_contents",
    "UINT64": "uint64_contents",
}
_GARBAGE = b"\xffno message of this protocol"


class GrpcFront:
    """Listens on a port of 127.0.0.1, until `stop`.

    Attributes:
        port: The port.
    """

    def __init__(self, service: Service, port: int) -> None:
        self._service = service
        self._pool = ThreadPoolExecutor(_MAX_STREAMS, thread_name_prefix="nemotron-fake-grpc")
        # Without the option a second server could take the same port, and half of the requests.
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, self._handlers()),))
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def stop(self) -> None:
        """End the connections and all threads. The service is closed already, so nothing waits."""
        self._server.stop(_GRACE_S).wait()
        self._pool.shutdown()

    def _handlers(self) -> dict[str, Any]:
        answers = {
            "ServerLive": lambda _: service_pb2.ServerLiveResponse(live=True),
            "ServerReady": lambda _: service_pb2.ServerReadyResponse(ready=self._service.is_ready("")),
            "ModelReady": lambda request: service_pb2.ModelReadyResponse(ready=self._service.is_ready(request.name)),
            "ServerMetadata": lambda _: service_pb2.ServerMetadataResponse(**DESCRIPTION),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                lambda request, _, answer=answer: answer(request),
                request_deserializer=getattr(service_pb2, f"{name}Request").FromString,
                response_serializer=getattr(service_pb2, f"{name}Response").SerializeToString,
            )
            for name, answer in answers.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._infer,
            request_deserializer=service_pb2.ModelInferRequest.FromString,
            response_serializer=lambda response: (
                response if isinstance(response, bytes) else response.SerializeToString()
            ),
        )
        return handlers

    def _infer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Answer the requests of a stream, one after the other; those that follow a session's, all beside it."""
        for request in requests:
            yield from self._answer(request, context, requests)

    def _answer(self, request: Any, context: Any, following: Iterable[Any] = ()) -> Iterator[Any]:
        try:
            running = self._begin(request, context)
        except Faulted as end:
            yield _failure(end.fault, request, context)
            return
        responses = self._responses(request, running, context)
        if running.opens_session:
            responses = self._together(responses, (self._answer(one, context) for one in following))
        yield from responses

    def _begin(self, request: Any, context: Any) -> Running:
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        inputs = _inputs(request, self._service.models)
        running = self._service.begin(Arrival(request.model_name, request.id, inputs, headers))
        if not context.add_callback(running.leave):  # the caller has gone already
            running.leave()
        return running

    def _responses(self, request: Any, running: Running, context: Any) -> Iterator[Any]:
        _, outputs = self._service.models[request.model_name]
        wanted = [output.name for output in request.outputs] or list(outputs)
        try:
            for values in running.responses:
                yield _response(request, wanted, outputs, values)
        except Faulted as end:
            yield _failure(end.fault, request, context)

    def _together(self, *sources: Iterator[Any]) -> Iterator[Any]:
        """What several bring, as it comes, until all have ended; what one of them raises ends it at once.

        An iterator that one of them brings is another source. Each is read in a thread of its own.
        """
        brought: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def read(source: Iterator[Any]) -> None:
            end: BaseException = StopIteration()
            try:
                for one in source:
                    brought.put((one, None))
            except BaseException as error:
                end = error
            brought.put((None, end))

        for source in sources:
            self._pool.submit(read, source)
        left = len(sources)
        while left:
            one, end = brought.get()
            if isinstance(one, Iterator):
                self._pool.submit(read, one)
                left += 1
            elif end is None:
                yield one
            elif isinstance(end, StopIteration):
                left -= 1
            else:
                raise end


def _inputs(request: Any, models: Models) -> dict[str, Any]:
    """The inputs as Python values: scalars and lists.

    Raises:
        Faulted: with the message that Triton has for a request that does not fit the model.
    """
    if request.model_name not in models:
        raise Faulted(Fault("error", unknown_model(request.model_name)))
    model, (known, outputs) = request.model_name, models[request.model_name]
    raw = list(request.raw_input_contents)
    inputs: dict[str, Any] = {}
    for number, given in enumerate(request.inputs):
        if given.name not in known:
            _refuse(f"unexpected inference input '{given.name}' for model '{model}'")
        tensor = known[given.name]
        typed = getattr(given.contents, _CONTENTS[given.datatype]) if given.datatype in _CONTENTS else ()
        if number >= len(raw) and not typed:
            _refuse(f"unable to find data for input tensor '{given.name}' for model '{model}' in request.")
        if given.datatype != tensor.dtype:
            expected = f"but model '{model}' expects '{tensor.dtype}'"
            _refuse(f"inference input '{given.name}' data-type is '{given.datatype}', {expected}", request.id)
        _check_shape(given, tensor, request)
        values = _plain(typed) if typed else decode(tensor.dtype, raw[number])
        if tensor.dtype == "FP32":
            # 0.7 becomes 0.699999988 on the way; it is what the caller has written again.
            values = [float(str(np.float32(value))) for value in values]
        inputs[given.name] = values if tensor.is_list else values[0]
    for output in request.outputs:
        if output.name not in outputs:
            _refuse(f"unexpected inference output '{output.name}' for model '{model}'")
    return inputs


def _plain(typed: Sequence[Any]) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in typed]


def _check_shape(given: Any, tensor: Tensor, request: Any) -> None:
    shape, expected = list(given.shape), [-1, *tensor.dims]
    fits = len(shape) == len(expected) and all(want in (-1, size) for want, size in zip(expected, shape, strict=True))
    if not fits:
        shapes = f"Expected {_shown(expected)}, got {_shown(shape)}"
        _refuse(f"unexpected shape for input '{given.name}' for model '{request.model_name}'. {shapes}.", request.id)
    if shape[0] != 1:
        _refuse(f"inference request batch-size must be <= 1 for '{request.model_name}'", request.id)


def _shown(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _refuse(message: str, request_id: str = "") -> None:
    about = f"[request id: {request_id}] " if request_id else ""
    raise Faulted(Fault("error", f"{about}{message}"))


def _response(request: Any, wanted: list[str], outputs: Mapping[str, Tensor], values: Values) -> Any:
    response = service_pb2.ModelStreamInferResponse()
    infer = response.infer_response
    infer.model_name, infer.model_version, infer.id = request.model_name, "1", request.id
    for name in (name for name in wanted if name in values):
        tensor = outputs[name]
        found = values[name] if isinstance(values[name], list) else [values[name]]
        shape = [1] if name == "text_output" else [*[1] * len(tensor.dims), len(found)]
        infer.outputs.add(name=name, datatype=tensor.dtype, shape=shape)
        infer.raw_output_contents.append(encode(tensor.dtype, found))
    return response


def _failure(fault: Fault, request: Any, context: Any) -> Any:
    """A response that carries the fault; or the end of the call, which raises."""
    if fault.kind == "error":
        response = service_pb2.ModelStreamInferResponse(
            error_message=fault.message_about(request.id, request.model_name)
        )
        response.infer_response.id = request.id
        return response
    if fault.kind == "garbage":
        return _GARBAGE
    if fault.kind == "status":
        context.abort(grpc.StatusCode[fault.status], fault.message)
    # What a client sees of a connection that breaks; breaking the connection itself would end its other streams too.
    context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    return None
