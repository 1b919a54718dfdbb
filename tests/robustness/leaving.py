"""Callers that ask for long answers and leave, each in one of the ways in which callers do."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
from tritonclient.grpc import service_pb2 as pb

from tests.integration.conftest import ROOT, Server
from tests.robustness.observing import IN_FLIGHT, nothing_left
from tests.waiting import wait_until

ENDLESS = 5_000  # tokens: 100 s at 20 ms each, and few enough for all callers to run: who waits is seen when it begins
MODELS = ("ensemble", "unary", "tensorrt_llm")
_QUESTION = "[sim:random]"
_LINGER_0 = struct.pack("ii", 1, 0)  # closes with a reset instead of a farewell
_CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


def cancelled_calls(server: Server, model: str, count: int, timeout_ms: int) -> Callable[[], None]:
    """Calls over gRPC that are cancelled, on one connection."""
    channel = grpc.insecure_channel(server.grpc_address, _CHANNEL)
    calls = [_begin(channel, model, timeout_ms) for _ in range(count)]

    def leave() -> None:
        for call in calls:
            call.cancel()
        channel.close()

    return leave


def closed_channels(server: Server, model: str, count: int, timeout_ms: int) -> Callable[[], None]:
    """Connections of gRPC that are closed, each with one call."""
    channels = [grpc.insecure_channel(server.grpc_address, _CHANNEL) for _ in range(count)]
    calls = [_begin(channel, model, timeout_ms) for channel in channels]

    def leave() -> None:
        for channel in channels:
            channel.close()
        calls.clear()

    return leave


def killed_process(server: Server, model: str, count: int, timeout_ms: int) -> Callable[[], None]:
    """The process of all callers is killed, with what it had not read yet."""
    command = [
        sys.executable,
        "-m",
        "tests.robustness.leaving",
        server.grpc_address,
        model,
        str(count),
        str(timeout_ms),
    ]
    process = subprocess.Popen(command, cwd=ROOT)

    def leave() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    return leave


def closed_sockets(server: Server, model: str, count: int, timeout_ms: int) -> Callable[[], None]:
    """Connections of HTTP that are closed."""
    return _http_callers(server, model, count, timeout_ms, lambda _: None)


def reset_sockets(server: Server, model: str, count: int, timeout_ms: int) -> Callable[[], None]:
    """Connections of HTTP that are reset."""
    return _http_callers(
        server, model, count, timeout_ms, lambda one: one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    )


def half_closed_sockets(server: Server, model: str, count: int, timeout_ms: int) -> Callable[[], None]:
    """Connections of HTTP whose caller says that it sends no more, reads nothing, and closes a moment later."""

    def shut(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_WR)

    return _http_callers(server, model, count, timeout_ms, shut)


WAYS: dict[str, Callable[[Server, str, int, int], Callable[[], None]]] = {
    "grpc_cancel": cancelled_calls,
    "grpc_close": closed_channels,
    "grpc_killed": killed_process,
    "http_close": closed_sockets,
    "http_reset": reset_sockets,
    "http_half_close": half_closed_sockets,
}


def freed_s(server: Server, way: str, model: str, count: int, timeout_ms: int, seconds: float = 60) -> float:
    """Let `count` callers ask and leave: the seconds until no request is in flight, as the metrics say it.

    These are brought up to date four times a second, so what is found is up to 0.25 s more than what it was.
    """
    leave = WAYS[way](server, model, count, timeout_ms)
    try:
        wait_until(lambda: server.metric(IN_FLIGHT) >= count, 30)
    finally:
        began = time.monotonic()
        leave()
    wait_until(lambda: nothing_left(server), seconds)
    return time.monotonic() - began


def half_requests(server: Server, count: int) -> list[socket.socket]:
    """Connections that have sent half a request over HTTP, and wait."""
    head = _http_request("ensemble", 1000)
    return [_connected(server, head[: -n % len(head) or 1]) for n in range(1, count + 1)]


@contextlib.contextmanager
def slow_readers(server: Server, count: int, timeout_ms: int) -> Iterator[None]:
    """Callers that ask for long answers and read none of it, over gRPC and over HTTP, until the block ends."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            if number % 2:
                stack.enter_context(_connected(server, _http_request("ensemble", timeout_ms), buffer=4096))
            else:
                channel = stack.enter_context(grpc.insecure_channel(server.grpc_address, _CHANNEL))
                stack.callback(_begin(channel, "ensemble", timeout_ms).cancel)
        yield


def waiting_call(channel: grpc.Channel, model: str, text: str = "", timeout_ms: int = 600_000) -> Any:
    """The responses of a call for a long answer that nobody means to read to its end."""
    return _begin(channel, model, timeout_ms, text)


def _http_callers(
    server: Server, model: str, count: int, timeout_ms: int, before: Callable[[socket.socket], None]
) -> Callable[[], None]:
    connections = [_connected(server, _http_request(model, timeout_ms)) for _ in range(count)]

    def leave() -> None:
        for connection in connections:
            before(connection)
            connection.close()

    return leave


def _connected(server: Server, sent: bytes, buffer: int | None = None) -> socket.socket:
    address = urlsplit(server.http_url)
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect((address.hostname, address.port))
    connection.sendall(sent)
    return connection


def _http_request(model: str, timeout_ms: int) -> bytes:
    body: dict[str, object] = {"text_input": _QUESTION, "max_tokens": ENDLESS, "timeout_ms": timeout_ms, "stream": True}
    way = "generate_stream"
    if model == "tensorrt_llm":
        body = {"input_ids": [40, 41], "request_output_len": ENDLESS, "timeout_ms": timeout_ms, "streaming": True}
    elif model == "unary":
        del body["stream"]
        way = "generate"
    data = json.dumps(body).encode()
    return b"POST /v2/models/%s/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (
        model.encode(),
        way.encode(),
        len(data),
        data,
    )


def _begin(channel: grpc.Channel, model: str, timeout_ms: int, text: str = "") -> grpc.Call:
    """A call for a long answer; of `unary` there is one response, of the others a stream."""
    request = pb.ModelInferRequest(model_name=model)
    if model == "tensorrt_llm":
        _add(request, "input_ids", "INT32", "int_contents", [40, 41])
        _add(request, "request_output_len", "INT32", "int_contents", [ENDLESS])
        _add(request, "streaming", "BOOL", "bool_contents", [True])
    else:
        _add(request, "text_input", "BYTES", "bytes_contents", [f"{_QUESTION} {text}".encode()])
        _add(request, "max_tokens", "INT32", "int_contents", [ENDLESS])
        if model == "ensemble":
            _add(request, "stream", "BOOL", "bool_contents", [True])
    _add(request, "timeout_ms", "INT32", "int_contents", [timeout_ms])
    path = "/inference.GRPCInferenceService/"
    if model == "unary":
        return channel.unary_stream(f"{path}ModelInfer", pb.ModelInferRequest.SerializeToString)(request)
    return channel.stream_stream(f"{path}ModelStreamInfer", pb.ModelInferRequest.SerializeToString)(iter([request]))


def _add(request: pb.ModelInferRequest, name: str, datatype: str, kind: str, values: list[object]) -> None:
    one = request.inputs.add(name=name, datatype=datatype, shape=[1, len(values)])
    getattr(one.contents, kind).extend(values)


def _main() -> None:
    """Ask until killed, for `killed_process`."""
    address, model, count, timeout_ms = sys.argv[1:]
    with grpc.insecure_channel(address, _CHANNEL) as channel:
        calls = [_begin(channel, model, int(timeout_ms)) for _ in range(int(count))]
        while calls:
            time.sleep(60)


if __name__ == "__main__":
    _main()
