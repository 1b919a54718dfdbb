"""Requests and responses of the generating model, as Triton hands them over.

An output is sent when it says something, as NVIDIA's model does: each costs 6 to 15 µs a response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import ACCEPTED_OUTPUTS, CALLER, SESSION, TOKEN_INPUTS, TOKEN_OUTPUTS
from nemotron_serving.errors import EngineError, InvalidRequestError, ServingError, failure
from nemotron_serving.features import Feature
from nemotron_serving.generation.response import Response
from nemotron_serving.generation.service import GenerationService
from nemotron_serving.generation.settings import read_generation_request
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.package import ServingConfig
from nemotron_serving.seal import Seal
from nemotron_serving.stages.postprocess import StreamEvent
from nemotron_serving.stages.triton import request_fields, request_id, send_error, send_response

_CONTROLS = ("open_session", "stop", "end_thinking", "acknowledged")
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class GenerationFront:
    """Takes requests: for tokens, to open a session, to stop a request or end its thinking, to acknowledge frames.

    Args:
        service: Runs them.
        config: The package's configuration.
        vocabulary: The package's vocabulary.
        features: What the engine can do.
        secret: Seals what goes from model to model, see `Seal`.
    """

    def __init__(
        self,
        service: GenerationService,
        config: ServingConfig,
        vocabulary: Vocabulary,
        features: frozenset[Feature],
        secret: str,
    ) -> None:
        self._service = service
        self._config = config
        self._vocabulary = vocabulary
        self._features = features
        self._settings_seal = Seal("request_settings", secret, "preprocessing")
        self._event_seal = Seal("stream_event", secret, "tensorrt_llm")

    def begin(self, request: Any) -> None:
        """Begin one, or answer it.

        Raises:
            ServingError: it is refused.
        """
        fields = request_fields(request, TOKEN_INPUTS)
        session = _session_key(request, fields)
        if fields.get("open_session", False):
            self._service.open_session(SubscriptionSink(request))
            return
        sink = ResponseSink(request, self._event_seal)
        client_id, caller = request_id(request), fields.get(CALLER, "")
        if "acknowledged" in fields:
            self._service.acknowledge(session, fields["acknowledged"])
            sink.confirm()
            return
        if fields.get("stop", False):
            stopped = self._service.stop(client_id, caller, session)
            sink.confirm({"finish_reason": "cancelled" if stopped else ""})
            return
        if fields.get("end_thinking", False):
            self._service.end_thinking(lambda ends: sink.confirm({"thinking_ends": ends}), client_id, caller, session)
            return
        if "request_settings" in fields:
            fields["request_settings"] = self._settings_seal.open(fields["request_settings"].encode()).decode()
        prompt_ids, settings = read_generation_request(fields, self._config, self._vocabulary, self._features)
        if session:
            self._service.submit_to_session(session, client_id, prompt_ids, settings, caller)
            sink.confirm({"num_input_tokens": len(prompt_ids)})
            return
        self._service.submit(client_id, prompt_ids, settings, sink, caller)


class ResponseSink:
    """Sends a stream's responses to the caller of one Triton request."""

    def __init__(self, request: Any, seal: Seal) -> None:
        self._request = request
        self._seal = seal
        self._sender = request.get_response_sender()

    def send(self, response: Response) -> None:
        """See `Sink.send`."""
        flags = _FINAL if response.final else 0
        if response.error is not None and not response.for_text:
            send_error(self._request, failure(response.error, refused=response.refused))
            return
        values = _for_postprocessing(response, self._seal) if response.for_text else _for_token_callers(response)
        values |= response.counts
        try:
            send_response(self._sender, values, TOKEN_OUTPUTS, flags)
        except Exception:
            # Nothing more will be sent, and a caller must not wait for it.
            send_error(self._request, EngineError("a response could not be delivered"))
            raise

    def is_cancelled(self) -> bool:
        """See `Sink.is_cancelled`."""
        return bool(self._sender.is_cancelled())

    def confirm(self, values: dict[str, Any] | None = None) -> None:
        """Answer with these outputs and nothing else, or with no response at all."""
        if values is None:
            self._sender.send(flags=_FINAL)
        else:
            send_response(self._sender, values, TOKEN_OUTPUTS, _FINAL)


class SubscriptionSink:
    """Sends a session's frames to the caller that has opened it. See `FrameSink`."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sender = request.get_response_sender()

    def send(self, frame: bytes) -> None:
        """See `FrameSink.send`."""
        send_response(self._sender, {"frame": frame.decode()}, TOKEN_OUTPUTS)

    def end(self, error: ServingError | None) -> None:
        """See `FrameSink.end`."""
        if error is not None:
            send_error(self._request, error)
        else:
            self._sender.send(flags=_FINAL)

    def is_cancelled(self) -> bool:
        """See `FrameSink.is_cancelled`."""
        return bool(self._sender.is_cancelled())


def _session_key(request: Any, fields: Mapping[str, Any]) -> str:
    """The key of the session that a request belongs to; empty for one that belongs to none.

    Raises:
        InvalidRequestError: no key where there has to be one, or two things that take a request each.
    """
    asked = [name for name in _CONTROLS if fields.get(name, False) is not False]
    if len(asked) > 1:
        raise InvalidRequestError(asked[1], f"given together with {asked[0]}; send a request for each")
    # Through the ensemble `session`, whose caller gets nothing else of the generating model.
    wanted = set(request.requested_output_names())
    accepted_only = "request_settings" in fields and wanted <= {output.name for output in ACCEPTED_OUTPUTS}
    key = str(fields.get(SESSION.name, ""))
    if not key and (SESSION.name in fields or "acknowledged" in fields or accepted_only):
        raise InvalidRequestError(SESSION.name, "missing, expected the key that the first frame of a session has")
    return key


def _for_postprocessing(response: Response, seal: Seal) -> dict[str, Any]:
    event = StreamEvent(
        slot=response.slot,
        number=response.number,
        sequence=response.sequence,
        begins=response.begins,
        expires=response.expires if response.begins is not None else None,
        finish_reason=response.finish_reason or "",
        error=response.error or "",
        refused=response.refused,
        states=response.states,
        logprobs=tuple(response.logprobs),
    )
    output_ids = np.array(response.token_ids, np.int32)
    sealed = seal.close(msgspec.json.encode(event), output_ids.tobytes())
    return {"output_ids": output_ids, "stream_event": sealed}


def _for_token_callers(response: Response) -> dict[str, Any]:
    token_ids = response.prompt_ids + response.token_ids
    return {
        "output_ids": token_ids,
        "sequence_length": len(token_ids),
        "finish_reason": response.finish_reason or "",
    }
