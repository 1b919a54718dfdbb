"""Odd calls over gRPC, each made from a `random.Random`: as bytes, so that they may hold what no library writes."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from tests.robustness.odd_values import (
    DATATYPES,
    KEY,
    MODELS,
    OPENS,
    OUTPUTS,
    SHAPES,
    WEIGHTS,
    inputs_of,
    odd_name,
    raw_values,
    value_of,
)

INFER = "ModelInfer"
STREAM = "ModelStreamInfer"
_SERVICE = "/inference.GRPCInferenceService/"
_OTHERS = tuple(
    method.name
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    if method.name not in (INFER, STREAM)
)
_ID = b"QQIDQQ"  # is replaced in what is sent, for a message can only hold UTF-8
_IDS = (b"\xff" * 6, b"ab\xed\xa0\x80c", b"\0" * 6, b"\n\r\t\x1b[m", b"QQIDQQ", b"%s%n%x")
_LONGEST_S = 60.0


@dataclass(frozen=True)
class GrpcCall:
    """One call.

    Attributes:
        method: Of Triton's service, or one that is not there.
        messages: What is sent, in turn; a call that is no stream has one.
        metadata: Headers.
        timeout_s: The caller's own deadline.
        cancel_after_s: When it leaves; None stays to the end.
        compression: Of the messages.
    """

    method: str
    messages: tuple[bytes, ...]
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout_s: float = _LONGEST_S
    cancel_after_s: float | None = None
    compression: grpc.Compression = grpc.Compression.NoCompression

    def on_session(self, key: str) -> GrpcCall:
        """The same with this key in place of `KEY`."""
        return dataclasses.replace(
            self, messages=tuple(one.replace(KEY.encode(), key.encode()) for one in self.messages)
        )

    @property
    def path(self) -> str:
        return _SERVICE + self.method

    @property
    def patient(self) -> bool:
        """Whether an answer has to come: the caller does not leave before."""
        return self.cancel_after_s is None and self.timeout_s == _LONGEST_S

    def __str__(self) -> str:
        shown = b" | ".join(message[:200] for message in self.messages[:3])
        return f"gRPC {self.method}, {len(self.messages)} messages, {self.metadata}: {shown!r}"


def odd_grpc_call(rng: random.Random) -> GrpcCall:
    """Any call: most ask a model."""
    kind = rng.random()
    if kind < 0.1:
        method = rng.choice(_OTHERS)
        return GrpcCall(method, (_mutated(rng, _other(rng, method)),), _metadata(rng))
    compression = rng.choice(list(grpc.Compression)) if rng.random() < 0.05 else grpc.Compression.NoCompression
    if kind < 0.45:
        method = INFER
        model = rng.choice(MODELS if rng.random() < 0.1 else ("unary", "preprocessing", "postprocessing"))
        messages: tuple[bytes, ...] = (_request(rng, model),)
    else:
        method = STREAM
        (model,) = rng.choices(MODELS, WEIGHTS)
        count = rng.choice((0, 2, 3, 5)) if rng.random() < 0.1 else 1
        messages = tuple(_request(rng, model, alone=count == 1) for _ in range(count))
    timeout_s, cancel_after_s = _LONGEST_S, None
    # Nobody leaves a call of preprocessing: that ends Triton 2.51, see test_known_killers.py.
    if method == STREAM or model == "unary":
        timeout_s = rng.choice((0.001, 0.02, 0.2)) if rng.random() < 0.04 else _LONGEST_S
        cancel_after_s = rng.choice((0, 0.002, 0.03, 0.2)) if rng.random() < 0.05 else None
    if method == STREAM and any(OPENS in message for message in messages):
        cancel_after_s = rng.choice((0.002, 0.03, 0.2))
    return GrpcCall(method, messages, _metadata(rng), timeout_s, cancel_after_s, compression)


def _request(rng: random.Random, model: str, *, alone: bool = True) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    # A model that is not there only alone: beside others on a stream it ends Triton 2.51, see test_known_killers.py.
    if alone and rng.random() < 0.01:
        request.model_name = odd_name(rng)
    if alone and rng.random() < 0.02:
        request.model_version = rng.choice(("1", "2", "-1", "9" * 30, "x", "1.0"))
    id_bytes = rng.choice(_IDS) if rng.random() < 0.15 else None
    if id_bytes:
        request.id = _ID.decode() * rng.choice((1, 1, 1, 60))
    elif rng.random() < (0.9 if model == "session" else 0.3):
        request.id = f"{rng.getrandbits(64):x}"
    for tensor in inputs_of(rng, model):
        _add_input(rng, request, tensor)
    if rng.random() < 0.1:
        for _ in range(rng.choice((1, 2))):
            _add_parameter(rng, request.parameters)
    if rng.random() < 0.25:
        _add_outputs(rng, request, model)
    data: bytes = request.SerializeToString()
    data = data.replace(_ID, id_bytes) if id_bytes else data
    return _mutated(rng, data) if alone else data


def _add_input(rng: random.Random, request: Any, tensor: Any) -> None:
    odd = rng.random() < 0.12
    datatype = "BYTES" if tensor.dtype == "STRING" else tensor.dtype
    length = rng.choice((1, 1, 2, 5)) if -1 in tensor.dims else 1
    values = [value_of(rng, tensor) for _ in range(length)]
    shape = [1] * (1 + len(tensor.dims))
    shape[-1] = length
    name = tensor.name
    how = rng.choice(("type", "shape", "length", "contents", "both", "name", "region", "twice")) if odd else ""
    if how == "type":
        datatype = rng.choice(DATATYPES)
    elif how == "shape":
        shape = rng.choice(SHAPES)
    elif how == "name":
        name = odd_name(rng)
    one = request.inputs.add(name=name, datatype=datatype, shape=shape)
    if how in ("contents", "both"):
        _add_contents(rng, one.contents, values)
    elif how == "region":
        one.parameters["shared_memory_region"].string_param = odd_name(rng)
        one.parameters["shared_memory_byte_size"].int64_param = rng.choice((0, 4, -1, 2**62))
        one.parameters["shared_memory_offset"].int64_param = rng.choice((0, -1, 2**62))
    if how not in ("contents", "region"):
        raw = raw_values(datatype, values)
        if how == "length":
            raw = rng.choice((b"", raw[:-1], raw + b"\0", b"\xff" * 4 + raw[4:], raw * 3, b"\0" * 4096))
        request.raw_input_contents.append(raw)
        if how == "twice":
            request.inputs.append(one)
            request.raw_input_contents.append(raw)


def _add_contents(rng: random.Random, contents: Any, values: list[Any]) -> None:
    """Typed contents, of a kind that need not be the input's."""
    kind = rng.choice(("own", "bool", "int", "uint64", "fp32", "bytes"))
    if kind == "bytes" or (kind == "own" and isinstance(values[0], str | bytes)):
        contents.bytes_contents.extend(v if isinstance(v, bytes) else str(v).encode(errors="replace") for v in values)
    elif kind == "bool":
        contents.bool_contents.extend([True] * len(values))
    elif kind == "fp32":
        contents.fp32_contents.extend([0.5] * len(values))
    elif kind == "uint64":
        contents.uint64_contents.extend([2**64 - 1] * len(values))
    else:
        contents.int_contents.extend([7] * len(values))


def _add_parameter(rng: random.Random, parameters: Any) -> None:
    names = (
        "timeout",
        "priority",
        "sequence_id",
        "sequence_start",
        "Streaming",
        "id",
        "max_tokens",
        "binary_data_output",
    )
    parameter = parameters[rng.choice(names) if rng.random() < 0.7 else odd_name(rng)]
    kind = rng.choice(("bool", "int64", "string", "double", "uint64", "none"))
    if kind == "bool":
        parameter.bool_param = rng.random() < 0.5
    elif kind == "int64":
        parameter.int64_param = rng.choice((0, 1, -1, 1000, 2**63 - 1, -(2**63)))
    elif kind == "string":
        parameter.string_param = odd_name(rng)
    elif kind == "double":
        parameter.double_param = rng.choice((0.5, float("nan"), 1e300))
    elif kind == "uint64":
        parameter.uint64_param = rng.choice((0, 2**64 - 1))


def _add_outputs(rng: random.Random, request: Any, model: str) -> None:
    for tensor in rng.choices(OUTPUTS[model], k=rng.choice((1, 1, 2, 40))):
        output = request.outputs.add(name=tensor.name if rng.random() > 0.05 else odd_name(rng))
        kind = rng.random()
        # Not for texts: that ends Triton 2.51, see test_known_killers.py.
        if kind < 0.1 and tensor.dtype != "STRING":
            output.parameters["classification"].int64_param = rng.choice((0, 1, 3, -1, 2**62))
        elif kind < 0.2:
            output.parameters["shared_memory_region"].string_param = odd_name(rng)
            output.parameters["shared_memory_byte_size"].int64_param = rng.choice((0, -1, 2**62))
        elif kind < 0.3:
            output.parameters[odd_name(rng)].bool_param = True


def _metadata(rng: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    # Never `triton_grpc_error`: it ends Triton 2.51, see test_known_killers.py.
    if rng.random() > 0.05:
        return ()
    return rng.choice(
        (
            (("x", "y"),),
            (("triton-grpc-protocol-nemotron-admin-key", "guessed"),),
            (("x-bin", b"\xff\0"),),
            tuple((f"h{n}", "v" * 50) for n in range(40)),
            (("grpc-timeout", "1n"),),
            (("content-type", "text/html"),),
        )
    )


def _other(rng: random.Random, method: str) -> bytes:
    """The message of a call that asks no model."""
    name = {"ModelReady": "name", "ModelMetadata": "name", "ModelConfig": "name", "ModelStatistics": "name"}.get(method)
    if name is None:
        name = "model_name" if method.startswith(("RepositoryModel", "TraceSetting")) else ""
    kind = getattr(pb, f"{method}Request")
    if not name:
        data: bytes = kind().SerializeToString()
        return data
    data = kind(**{name: rng.choice(MODELS) if rng.random() < 0.6 else odd_name(rng)}).SerializeToString()
    return data


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """Now and then with some bytes changed, taken away or added."""
    if rng.random() > 0.03 or not data:
        return data
    at = rng.randrange(len(data))
    return rng.choice(
        (data[:at], data + data[at:], data[:at] + rng.randbytes(3) + data[at + 3 :], rng.randbytes(40), b"")
    )
