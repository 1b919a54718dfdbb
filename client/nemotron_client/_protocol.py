"""Requests and responses of Triton's gRPC protocol, for the ensemble and the generating model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

ENSEMBLE = "ensemble"
GENERATING_MODEL = "tensorrt_llm"
OUTPUTS = (
    "reasoning_content",
    "content",
    "tool_calls",
    "finish_reason",
    "num_input_tokens",
    "num_output_tokens",
    "num_reasoning_tokens",
    "thinking_budget_reached",
)

_DTYPES = {
    "bad_words": "BYTES",
    "frequency_penalty": "FP32",
    "max_thinking_tokens": "INT32",
    "max_tokens": "INT32",
    "messages": "BYTES",
    "min_tokens": "INT32",
    "presence_penalty": "FP32",
    "priority": "INT32",
    "repetition_guard": "BOOL",
    "repetition_penalty": "FP32",
    "response_format": "BYTES",
    "seed": "UINT64",
    "stop": "BOOL",
    "stop_words": "BYTES",
    "stream": "BOOL",
    "temperature": "FP32",
    "thinking": "BOOL",
    "timeout_ms": "INT32",
    "tool_choice": "BYTES",
    "tools": "BYTES",
    "top_k": "INT32",
    "top_p": "FP32",
}
OPTIONS = _DTYPES.keys() - {"messages", "stop", "stream"}
"""What a caller may say besides the conversation."""


def infer_request(model: str, request_id: str, inputs: Mapping[str, Any], outputs: tuple[str, ...] = ()) -> Any:
    """A ModelInferRequest; each input becomes a tensor of shape [1, n].

    Raises:
        TypeError: a value of another type.
        ValueError: an integer out of its type's range, or text that is not Unicode.
    """
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for name, value in inputs.items():
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        request.inputs.add(name=name, datatype=_DTYPES[name], shape=[1, len(values)])
        request.raw_input_contents.append(_encode(name, values))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def output_values(response: Any) -> dict[str, Any]:
    """The outputs of a ModelInferResponse as Python values; each has one element."""
    values = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            values[output.name] = deserialize_bytes_tensor(raw)[0].decode()
        else:
            values[output.name] = np.frombuffer(raw, triton_to_np_dtype(output.datatype))[0].item()
    return values


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "BOOL": (bool,),
    "BYTES": (str,),
    "FP32": (int, float),
    "INT32": (int,),
    "UINT64": (int,),
}


def _encode(name: str, values: list[Any]) -> bytes:
    dtype = _DTYPES[name]
    accepted = _PYTHON_TYPES[dtype]
    for value in values:
        # A bool is an int to Python, but never what is meant here.
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            expected = " or ".join(kind.__name__ for kind in accepted)
            raise TypeError(f"{name}: {type(value).__name__} was given, expected {expected}")
    if dtype == "BYTES":
        texts = np.array([text.encode() for text in values], np.object_)
        encoded: bytes = serialize_byte_tensor(texts).item()
        return encoded
    numpy_type = np.dtype(triton_to_np_dtype(dtype))
    if numpy_type.kind in "iu":
        limits = np.iinfo(numpy_type)
        for value in values:
            if not limits.min <= value <= limits.max:
                raise ValueError(f"{name}: {value} was given, expected {limits.min} to {limits.max}")
    return np.array(values, numpy_type).tobytes()
