"""One unary call as a request to the ensemble (business logic scripting, BLS)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import ENSEMBLE_INPUTS
from nemotron_serving.errors import EngineError, InvalidRequestError
from nemotron_serving.triton import error_response, request_fields
from nemotron_serving.unary import triton_code

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
_STREAM = tuple(tensor for tensor in ENSEMBLE_INPUTS if tensor.name == "stream")


class EnsembleCall:
    """See `nemotron_serving.unary.Call`."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()
        # Without an id there is nothing that a stop request could name.
        self._id = request.request_id() or uuid.uuid4().hex

    def ask(self) -> Any:
        """See `Call.ask`.

        Raises:
            InvalidRequestError: a stream is asked for, or something that is no input.
        """
        if request_fields(self._request, _STREAM).get("stream", False):
            raise InvalidRequestError(
                "stream", "True was given, but this model answers once; leave it out or call the model 'ensemble'"
            )
        for answer in self._send("ensemble", self._request.inputs(), self._request.requested_output_names()):
            if answer.has_error():
                message = answer.error().message()
                code = getattr(pb_utils.TritonError, triton_code(message))
                return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
            if answer.output_tensors():
                return pb_utils.InferenceResponse(answer.output_tensors())
        raise EngineError("The ensemble gave no answer.")

    def is_cancelled(self) -> bool:
        """See `Call.is_cancelled`."""
        return bool(self._request.is_cancelled())

    def stop(self) -> None:
        """Send TensorRT-LLM's stop request; see `Call.stop`."""
        for _ in self._send("tensorrt_llm", [pb_utils.Tensor("stop", np.array([[True]]))], ["finish_reason"]):
            pass

    def answer(self, answer: Any) -> None:
        """See `Call.answer`."""
        self._sender.send(answer, flags=_FINAL)

    def confirm_cancel(self) -> None:
        """See `Call.confirm_cancel`."""
        error = pb_utils.TritonError("cancelled by the caller (CANCELLED)", pb_utils.TritonError.CANCELLED)
        self.answer(pb_utils.InferenceResponse(error=error))

    def fail(self, error: Exception) -> None:
        """See `Call.fail`."""
        self.answer(error_response(self._request, error))

    def _send(self, model: str, inputs: list[Any], outputs: Iterable[str]) -> Iterator[Any]:
        request = pb_utils.InferenceRequest(
            model_name=model,
            inputs=inputs,
            requested_output_names=list(outputs),
            request_id=self._id,
        )
        # Not async_exec: up to 2026 it can use freed memory.
        responses: Iterator[Any] = request.exec(decoupled=True)
        return responses
