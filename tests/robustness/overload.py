"""More callers than there are places, each with one request after the other."""

from __future__ import annotations

import asyncio
import collections
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

from tests.integration.conftest import Server

_TOKENS = 300
_PATIENCE_S = 60.0
_PAUSE_S = 0.2  # of a caller that was refused


@dataclass
class Flood:
    """What became of the requests.

    Attributes:
        ends: How many were answered in full, were refused with UNAVAILABLE, or ended otherwise: by what was said.
        refusals_s: What each refusal took.
    """

    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    refusals_s: list[float] = field(default_factory=list)


def flood(server: Server, callers: int, seconds: float) -> Flood:
    """Let so many callers ask the ensemble and `unary` by turns."""
    return asyncio.run(_flood(server, callers, seconds))


async def _flood(server: Server, callers: int, seconds: float) -> Flood:
    found, until = Flood(), time.monotonic() + seconds
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub = services.GRPCInferenceServiceStub(channel)

        async def call(model: str) -> None:
            while time.monotonic() < until:
                began = time.monotonic()
                end = await _ask(stub, model)
                found.ends[end] += 1
                if end == "UNAVAILABLE":
                    found.refusals_s.append(time.monotonic() - began)
                    await asyncio.sleep(_PAUSE_S)

        await asyncio.gather(*(call(("ensemble", "unary")[number % 2]) for number in range(callers)))
    return found


async def _ask(stub: Any, model: str) -> str:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(
        b"[sim:random]"
    )
    request.inputs.add(name="max_tokens", datatype="INT32", shape=[1, 1]).contents.int_contents.append(_TOKENS)
    try:
        if model == "unary":
            return _end_of(await stub.ModelInfer(request, timeout=_PATIENCE_S))
        (response,) = [one async for one in stub.ModelStreamInfer(iter([request]), timeout=_PATIENCE_S)]
    except grpc.RpcError as error:
        return "UNAVAILABLE" if "try again" in error.details() else f"{error.code().name}: {error.details()}"
    if message := response.error_message:
        return "UNAVAILABLE" if message.endswith("(UNAVAILABLE)") else message
    return _end_of(response.infer_response)


def _end_of(response: Any) -> str:
    names = [output.name for output in response.outputs]
    (count,) = memoryview(response.raw_output_contents[names.index("num_output_tokens")]).cast("i")
    return "answered" if count == _TOKENS else f"{count} tokens"
