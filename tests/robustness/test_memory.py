"""What tritonserver keeps of the requests that it answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

from tests.integration.conftest import Server
from tests.robustness.observing import answers, usage
from tests.waiting import wait_until

LARGE = 64 << 20
AT_ONCE = 4
SMALL = 1 << 20


def refuse(server: Server, size: int) -> None:
    """A text of `size` bytes that is said to be numbers, on a connection of its own."""
    value = pb.ModelInferRequest.InferInputTensor(name="text_input", datatype="FP32", shape=[1, 1])
    request = pb.ModelInferRequest(model_name="ensemble", inputs=[value], raw_input_contents=[b"A" * size])
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc_address, options=options) as channel:
        (answer,) = services.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request]))
    assert answer.error_message


def resident(server: Server) -> int:
    """Bytes that tritonserver has in memory."""
    return usage(server)["tritonserver"].rss_kib * 1024


def test_refused_requests_leave_nothing(server: Server) -> None:
    for _ in range(50):
        refuse(server, SMALL)
    before = resident(server)
    for _ in range(200):
        refuse(server, SMALL)
    assert resident(server) - before < 20 * SMALL
    assert answers(server)


def test_large_messages_are_given_back(server: Server) -> None:
    """Less than twice what they were at once; how the rest is cut into pages is malloc's."""
    before = resident(server)
    with ThreadPoolExecutor(AT_ONCE) as callers:
        for _ in range(3):
            list(callers.map(lambda _: refuse(server, LARGE), range(AT_ONCE)))
    wait_until(lambda: resident(server) - before < 1.5 * AT_ONCE * LARGE, 30)
    assert answers(server)
