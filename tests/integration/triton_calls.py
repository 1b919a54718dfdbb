"""Requests with plain tritonclient, as any client of NVIDIA's ensemble would send them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient

_TYPES: dict[type, tuple[str, Any]] = {
    bool: ("BOOL", np.bool_),
    int: ("INT32", np.int32),
    float: ("FP32", np.float32),
    str: ("BYTES", np.object_),
    bytes: ("BYTES", np.object_),
}


def tensor(name: str, value: Any, datatype: str | None = None) -> grpcclient.InferInput:
    """An input of shape [1, n] of the type of the value; `seed` and other UINT64 need it said."""
    values = value if isinstance(value, list) else [value]
    wire, dtype = _TYPES[type(values[0])]
    if datatype == "UINT64":
        wire, dtype = datatype, np.uint64
    encoded = [one.encode() if isinstance(one, str) else one for one in values]
    array = np.array([encoded], dtype=dtype)
    result = grpcclient.InferInput(name, list(array.shape), wire)
    result.set_data_from_numpy(array)
    return result


def tensors(**values: Any) -> list[grpcclient.InferInput]:
    return [tensor(name, value, "UINT64" if name == "seed" else None) for name, value in values.items()]


@dataclass
class Answer:
    """All responses of one request."""

    responses: list[dict[str, Any]]

    def text(self, name: str = "text_output") -> str:
        return "".join(response[name] for response in self.responses)

    @property
    def last(self) -> dict[str, Any]:
        return self.responses[-1]


def values_of(result: Any) -> dict[str, Any]:
    """Outputs as Python values: text, or the one number."""
    values: dict[str, Any] = {}
    for output in result.get_response().outputs:
        array = result.as_numpy(output.name)
        values[output.name] = array.item().decode() if output.datatype == "BYTES" else array.ravel().tolist()
    return values


async def stream(
    client: aioclient.InferenceServerClient,
    request_id: str = "",
    model: str = "ensemble",
    **inputs: Any,
) -> AsyncIterator[dict[str, Any]]:
    """The responses of one request, as they come; an error is raised."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": model, "inputs": tensors(**inputs), "request_id": request_id}

    async for result, error in client.stream_infer(requests()):
        if error is not None:
            raise error
        yield values_of(result)


async def ask(address: str, **inputs: Any) -> Answer:
    """One request on a connection of its own."""
    async with aioclient.InferenceServerClient(address) as client:
        return Answer([response async for response in stream(client, **inputs)])
