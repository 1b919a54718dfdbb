"""Values become tensors and back, as tritonclient itself would write and read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from nemotron_client._transports import Call
from nemotron_client._transports.grpc_codec import OutputReader, infer_request, metadata


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_tokens", 5, [5]),
        ("seed", 2**64 - 1, [2**64 - 1]),
        ("temperature", 1, [1.0]),
        ("thinking", True, [True]),
        ("messages", "ไทย", ["ไทย".encode()]),
        ("stop_words", ["a", "", "€"], [b"a", b"", "€".encode()]),
    ],
)
def test_an_input_is_what_tritonclient_reads(name: str, value: Any, expected: list[Any]) -> None:
    request = infer_request(Call("ensemble", "r-1", {name: value}, ("content",)))
    (tensor,), (raw,) = request.inputs, request.raw_input_contents
    assert (request.model_name, request.id, [output.name for output in request.outputs]) == (
        "ensemble",
        "r-1",
        ["content"],
    )
    assert (tensor.name, list(tensor.shape)) == (name, [1, len(expected)])
    if tensor.datatype == "BYTES":
        assert list(deserialize_bytes_tensor(raw)) == expected
    else:
        assert np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).tolist() == expected


def test_the_caller_is_named_unless_a_header_does() -> None:
    own, other = ("nemotron-caller", "own"), ("nemotron-caller", "other")
    assert metadata({"a": "1"}) == (("a", "1"),)
    assert metadata({"a": "1"}, "own") == (own, ("a", "1"))
    assert metadata(dict([other]), "own") == (other,)


def response(**values: tuple[str, Any]) -> Any:
    message = service_pb2.ModelInferResponse()
    for name, (datatype, value) in values.items():
        message.outputs.add(name=name, datatype=datatype, shape=[1, 1])
        if datatype == "BYTES":
            raw = serialize_byte_tensor(np.array([value.encode()], np.object_)).item()
        else:
            raw = np.array([value], triton_to_np_dtype(datatype)).tobytes()
        message.raw_output_contents.append(raw)
    return message


def call(*outputs: str) -> Call:
    return Call("ensemble", "r-1", {}, outputs)


def test_outputs_are_read_as_they_change() -> None:
    read = OutputReader(call("content", "count", "done"))
    expected = [{"content": text, "count": count, "done": count > 2} for text, count in [("", 1), ("é", 1), ("é", 3)]]
    for values in expected:
        message = response(
            content=("BYTES", values["content"]), count=("INT32", values["count"]), done=("BOOL", values["done"])
        )
        assert read(message) == values


def test_an_output_that_the_first_response_alone_has() -> None:
    read = OutputReader(call("content", "package", "tool_calls"))
    later = {"content": "1", "tool_calls": "2"}
    for values in ({"content": "1", "package": "2", "tool_calls": "3"}, later, later | {"content": "3"}):
        assert read(response(**{name: ("BYTES", value) for name, value in values.items()})) == values


def test_the_first_response_has_as_many_outputs_as_the_second() -> None:
    read = OutputReader(call("content", "package", "tool_call_error"))
    for values in ({"content": "1", "package": "2"}, {"content": "1", "tool_call_error": "2"}):
        assert read(response(**{name: ("BYTES", value) for name, value in values.items()})) == values


def test_an_output_that_not_every_response_has() -> None:
    read = OutputReader(call("content", "tool_call_error", "tool_calls"))
    always = {"content": "1", "tool_calls": "2"}
    error = {"content": "1", "tool_call_error": "x", "tool_calls": "2"}
    # The last two have as many, and in part the same bytes at the same places.
    for values in (always, error, always, {"content": "1", "tool_call_error": "2"}, always):
        assert read(response(**{name: ("BYTES", value) for name, value in values.items()})) == values
