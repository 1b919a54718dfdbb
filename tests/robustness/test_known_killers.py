"""Requests that end Triton 2.51 itself: the fuzzer leaves them out, and the server has to come back from each."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

from tests.integration.conftest import Server
from tests.robustness.observing import answers, nothing_left, wait_until_restarted
from tests.waiting import wait_until

SECONDS = 4  # what needs luck has it in the first second, mostly
_CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


def classify(server: Server) -> None:
    """The output parameter `classification` divides by the number of values of a text: SIGFPE."""
    request = pb.ModelInferRequest(model_name="ensemble", inputs=[text_input()])
    request.outputs.add(name="content").parameters["classification"].int64_param = 1
    with grpc.insecure_channel(server.grpc_address) as channel:
        list(services.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request])))


def ask_for_grpc_errors(server: Server) -> None:
    """The header `triton_grpc_error`, with a stream that ends without any input: SIGSEGV."""
    request = pb.ModelInferRequest(model_name="ensemble")
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            streams = [
                stub.ModelStreamInfer(iter([request]), metadata=(("triton_grpc_error", "true"),)) for _ in "1234"
            ]
            for stream in streams:
                with contextlib.suppress(grpc.RpcError):
                    list(stream)
            if not answers(server):
                raise ConnectionError


def send_a_huge_shape(server: Server) -> None:
    """Room for what a shape promises is made before it is compared with the data: std::length_error, SIGABRT."""
    one = {"name": "max_tokens", "datatype": "INT32", "shape": [2**63 - 1], "data": [1]}
    server.post("/v2/models/unary/infer", {"inputs": [one]})


def send_a_shape_of_no_bytes(server: Server) -> None:
    """The bytes that a shape takes are counted modulo 2**64, and what passes cannot be read by the stub: SIGABRT."""
    request = pb.ModelInferRequest(model_name="ensemble", raw_input_contents=[b""])
    request.inputs.add(name="embedding_bias_weights", datatype="FP32", shape=[1, 2**62])
    with grpc.insecure_channel(server.grpc_address) as channel:
        list(services.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request])))


def nest(server: Server) -> None:
    """JSON is read by a function that calls itself for each bracket, until its stack is full: SIGSEGV."""
    server.post("/v2/models/ensemble/generate", b"[" * 1_000_000)


def send_crumbs(server: Server) -> None:
    """Room on the stack is taken for each piece that a body comes in: SIGSEGV."""
    address = urlsplit(server.http_url)
    head = b"POST /v2/models/ensemble/generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head + b"1\r\na\r\n" * 1_000_000 + b"0\r\n\r\n")
        connection.recv(1)


def ask_beside_an_unknown_model(server: Server) -> None:
    """A model that is not there and one that is, on one stream, several times at once: a failed assertion, SIGABRT."""
    until = time.monotonic() + SECONDS
    requests = [pb.ModelInferRequest(model_name=name, inputs=[text_input()]) for name in ("ensemble", "nobody") * 3]

    def ask() -> None:
        with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(server.grpc_address, _CHANNEL) as channel:
            while time.monotonic() < until:
                list(services.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(requests), timeout=30))

    together(ask)


def leave_preprocessing(server: Server) -> None:
    """Calls of `preprocessing` whose callers leave at about the time of the answer: SIGSEGV or SIGABRT."""
    until = time.monotonic() + SECONDS
    request = pb.ModelInferRequest(model_name="preprocessing", inputs=[text_input()])

    def ask() -> None:
        with grpc.insecure_channel(server.grpc_address, _CHANNEL) as channel:
            while time.monotonic() < until:
                with contextlib.suppress(grpc.RpcError):
                    stub = services.GRPCInferenceServiceStub(channel)
                    stub.ModelInfer(request, timeout=random.choice((0.001, 0.003, 0.005, 0.02)))

    together(ask)


def together(ask: Callable[[], None]) -> None:
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def text_input() -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(
        name="text_input", datatype="BYTES", shape=[1, 1], contents=pb.InferTensorContents(bytes_contents=[b"Hi"])
    )


@pytest.mark.parametrize("kill", [classify, send_a_huge_shape, send_a_shape_of_no_bytes, nest, send_crumbs])
def test_the_server_comes_back(server: Server, kill: Callable[[Server], None]) -> None:
    """One that ends nothing any more belongs into the fuzz."""
    with contextlib.suppress(grpc.RpcError, OSError):
        kill(server)
    wait_until_restarted(server, 1)
    wait_until(lambda: nothing_left(server))


@pytest.mark.parametrize("may_kill", [ask_for_grpc_errors, ask_beside_an_unknown_model, leave_preprocessing])
def test_the_server_comes_back_from_what_needs_luck(server: Server, may_kill: Callable[[Server], None]) -> None:
    with contextlib.suppress(grpc.RpcError, OSError):
        may_kill(server)
    wait_until(lambda: answers(server), 60)
    wait_until(lambda: nothing_left(server))
