"""One unary call as a request to the ensemble (business logic scripting, BLS)."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import CALLER, ENSEMBLE_INPUTS, OCCASIONAL_OUTPUTS
from nemotron_serving.errors import EngineError, InvalidRequestError
from nemotron_serving.stages.triton import request_fields, request_id, send_error
from nemotron_serving.stages.unary import triton_code

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
_STREAM = tuple(tensor for tensor in ENSEMBLE_INPUTS if tensor.name == "stream")


class EndedResponses:
    """Keeps the responses of ended requests until Triton has let go of them.

    It does so in a thread of its own, some time after the last one was taken. If its reference is the last, that thread
    frees their tensors: up to Triton 24.11 without Python's lock, which corrupts the memory of this process; since
    then with it, while it holds a lock that other threads with Python's lock wait for. So ours has to be the last.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._lock = threading.Lock()

    def keep(self, responses: Any) -> None:
        """Take what `exec` of an ended request had returned."""
        with self._lock:
            self._kept.append(responses)

    def free(self, request: Any) -> None:
        """Let go of what was kept so far.

        Args:
            request: A new one. The first question whether it is cancelled goes through the same queue as Triton's
                letting go, so when it is answered, that is done.
        """
        with self._lock:
            kept, self._kept = self._kept, []
        request.is_cancelled()
        kept.clear()


class EnsembleCall:
    """See `nemotron_serving.stages.unary.Call`."""

    def __init__(self, request: Any, ended: EndedResponses) -> None:
        ended.free(request)
        self._ended = ended
        self._request = request
        self._sender = request.get_response_sender()
        # Without an id there is nothing that a stop request could name.
        self._id = request_id(request) or uuid.uuid4().hex
        # Nor, where stops are bound, anybody whose stop it could be.
        self._caller = uuid.uuid4().hex

    def ask(self) -> Any:
        """See `Call.ask`.

        Raises:
            InvalidRequestError: a stream is asked for, or something that is no input.
        """
        fields = request_fields(self._request, ENSEMBLE_INPUTS, _STREAM)
        self._caller = fields.get(CALLER, self._caller)
        if fields.get("stream", False):
            raise InvalidRequestError(
                "stream", "True was given, but this model answers once; leave it out or call the model 'ensemble'"
            )
        inputs, outputs = self._request.inputs(), self._request.requested_output_names()
        for answer in self._send("ensemble", inputs, outputs, fields.get("timeout_ms", 0)):
            if answer.has_error():
                message = answer.error().message()
                code = getattr(pb_utils.TritonError, triton_code(message))
                return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
            if answer.output_tensors():
                return pb_utils.InferenceResponse(answer.output_tensors())
        if OCCASIONAL_OUTPUTS.issuperset(outputs):
            return pb_utils.InferenceResponse([])  # nothing was asked for but what this answer does not have
        raise EngineError("The ensemble gave no answer.")

    def is_cancelled(self) -> bool:
        """See `Call.is_cancelled`."""
        return bool(self._request.is_cancelled())

    def stop(self) -> None:
        """Send TensorRT-LLM's stop request; see `Call.stop`."""
        self._send("tensorrt_llm", [pb_utils.Tensor("stop", np.array([[True]]))], ["finish_reason"])

    def answer(self, answer: Any) -> None:
        """See `Call.answer`."""
        self._sender.send(answer, flags=_FINAL)

    def confirm_cancel(self) -> None:
        """See `Call.confirm_cancel`."""
        error = pb_utils.TritonError("cancelled by the caller (CANCELLED)", pb_utils.TritonError.CANCELLED)
        self.answer(pb_utils.InferenceResponse(error=error))

    def fail(self, error: Exception) -> None:
        """See `Call.fail`."""
        send_error(self._request, error)

    def _send(self, model: str, inputs: list[Any], outputs: Iterable[str], timeout_ms: int = 0) -> list[Any]:
        request = pb_utils.InferenceRequest(
            model_name=model,
            inputs=inputs,
            requested_output_names=list(outputs),
            request_id=self._id,
            parameters={CALLER: self._caller},
            timeout=1000 * timeout_ms,
        )
        # Not async_exec: up to 2026 it can use freed memory.
        responses = request.exec(decoupled=True)
        received = list(responses)
        self._ended.keep(responses)
        return received
