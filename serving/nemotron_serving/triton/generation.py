"""Responses of the generating model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import GENERATION_OUTPUTS, NUMPY_TYPES
from nemotron_serving.errors import EngineError
from nemotron_serving.generation.response import Response
from nemotron_serving.output.postprocessor import StreamEvent
from nemotron_serving.triton import error_response

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
_UNKNOWN = -1
# What nothing here fills: a zero of the contract's rank, as NVIDIA's model sends it.
_ZEROS = {
    tensor.name: np.zeros([1, *(1 for _ in tensor.dims)], NUMPY_TYPES[tensor.dtype]) for tensor in GENERATION_OUTPUTS
}


class ResponseSink:
    """Sends a stream's responses to the caller of one Triton request."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()

    def send(self, response: Response) -> None:
        """See `Sink.send`."""
        flags = _FINAL if response.final else 0
        if response.error is not None and not response.for_text:
            self.fail(EngineError(response.error))
            return
        event = StreamEvent(
            stream_key=response.stream_key,
            begins=response.begins,
            finish_reason=response.finish_reason or "",
            error=response.error or "",
            thinking_budget_reached=response.thinking_budget_reached,
            logprobs=tuple(response.logprobs),
        )
        token_ids = response.prompt_ids + response.token_ids
        tensors = _tensors(token_ids, response.finish_reason or "", msgspec.json.encode(event))
        cached = _UNKNOWN if response.num_cached_tokens is None else response.num_cached_tokens
        values = {
            "num_input_tokens": np.array([[response.num_input_tokens]], np.int32),
            "num_output_tokens": np.array([[response.num_output_tokens]], np.int32),
            "num_cached_tokens": np.array([[cached]], np.int32),
        }
        if response.logprobs:
            values["output_log_probs"] = np.array([[[one.logprob for one in response.logprobs]]], np.float32)
            values["cum_log_probs"] = np.array([[response.cum_log_prob]], np.float32)
        tensors += [pb_utils.Tensor(name, value) for name, value in (_ZEROS | values).items()]
        self._sender.send(pb_utils.InferenceResponse(tensors), flags=flags)

    def is_cancelled(self) -> bool:
        """See `Sink.is_cancelled`."""
        return bool(self._sender.is_cancelled())

    def fail(self, error: Exception) -> None:
        """Answer with an error and nothing else."""
        self._sender.send(error_response(self._request, error), flags=_FINAL)

    def confirm_stop(self, stopped: bool) -> None:
        """Answer a stop request: finish_reason `cancelled` if there was something to stop, else empty."""
        tensors = _tensors([], "cancelled" if stopped else "", b"")
        self._sender.send(pb_utils.InferenceResponse(tensors), flags=_FINAL)


def _tensors(token_ids: list[int], finish_reason: str, event: bytes) -> list[Any]:
    values: Mapping[str, Any] = {
        "output_ids": np.array([[token_ids]], np.int32),
        "sequence_length": np.array([[len(token_ids)]], np.int32),
        "finish_reason": np.array([[finish_reason]], np.object_),
        "stream_event": np.array([[event]], np.object_),
    }
    return [pb_utils.Tensor(name, value) for name, value in values.items()]
