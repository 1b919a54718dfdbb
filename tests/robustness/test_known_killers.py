"""Requests that end Triton 2.51 itself: the fuzzer leaves them out, and the server has to come back from each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

from tests.integration.conftest import Server
from tests.robustness.observing import answers, nothing_left, wait_until_restarted
from tests.waiting import wait_until


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
        for _ in range(500):
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


def text_input() -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(
        name="text_input", datatype="BYTES", shape=[1, 1], contents=pb.InferTensorContents(bytes_contents=[b"Hi"])
    )


@pytest.mark.parametrize("kill", [classify, ask_for_grpc_errors, send_a_huge_shape])
def test_the_server_comes_back(server: Server, kill: Callable[[Server], None]) -> None:
    with contextlib.suppress(grpc.RpcError, OSError):
        kill(server)
    wait_until_restarted(server, 1)
    wait_until(lambda: nothing_left(server))
