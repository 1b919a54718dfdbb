"""Requests that every server has to answer right, whatever else it gets: one for each way in."""

from __future__ import annotations

import contextlib
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

from tests.integration.conftest import Server
from tests.robustness.odd_values import MARK
from tests.robustness.sessions import SessionCaller

_TIMEOUT_S = 60.0
_QUESTION = f"[sim:think] {MARK}"
_TOKENS = 12


class GoodRequests:
    """Asks in each way in turn. What was answered first, when nothing disturbed the server, is right.

    Args:
        server: With the simulated engine, whose answers are always the same.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._channel = grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)])
        self._stub = services.GRPCInferenceServiceStub(self._channel)
        ways: tuple[Callable[[], Any], ...] = (
            self.stream,
            self._generate,
            self._unary,
            self._tokens,
            self._session,
        )
        self._right = [(way, way()) for way in ways]
        self._turns = itertools.cycle(self._right)

    def close(self) -> None:
        self._channel.close()

    def ask(self) -> str:
        """Ask one question: what was wrong with the answer, or nothing."""
        way, right = next(self._turns)
        try:
            answer = way()
        except (OSError, grpc.RpcError, ValueError, LookupError) as error:
            return f"{way.__name__.strip('_')}: {type(error).__name__}: {_said(error)}"
        return "" if answer == right else f"{way.__name__.strip('_')}: {answer!r} instead of {right!r}"

    def stream(self) -> str:
        """A stream through the ensemble: its text."""
        request = pb.ModelInferRequest(model_name="ensemble", inputs=[_text(), _number("max_tokens"), _true("stream")])
        return "".join(_text_of(one) for one in self._stub.ModelStreamInfer(iter([request]), timeout=_TIMEOUT_S))

    def _unary(self) -> str:
        request = pb.ModelInferRequest(model_name="unary", inputs=[_text(), _number("max_tokens")])
        response = self._stub.ModelInfer(request, timeout=_TIMEOUT_S)
        return _text_of(pb.ModelStreamInferResponse(infer_response=response))

    def _tokens(self) -> int:
        ids = pb.ModelInferRequest.InferInputTensor(name="input_ids", datatype="INT32", shape=[1, 2])
        ids.contents.int_contents.extend([40, 41])
        request = pb.ModelInferRequest(model_name="tensorrt_llm", inputs=[ids, _number("request_output_len")])
        (one,) = self._stub.ModelStreamInfer(iter([request]), timeout=_TIMEOUT_S)
        return len(_output(one, "output_ids"))

    def _session(self) -> str:
        """A session with one request: its text."""
        with SessionCaller(self._server.grpc_address, self._channel) as caller:
            caller.open()
            caller.ask("good", _TOKENS, _QUESTION)
            return caller.text("good")

    def _generate(self) -> Any:
        body = json.dumps({"text_input": _QUESTION, "max_tokens": _TOKENS}).encode()
        request = urllib.request.Request(f"{self._server.http_url}/v2/models/ensemble/generate", body)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)["text_output"]


def _text() -> Any:
    one = pb.ModelInferRequest.InferInputTensor(name="text_input", datatype="BYTES", shape=[1, 1])
    one.contents.bytes_contents.append(_QUESTION.encode())
    return one


def _number(name: str) -> Any:
    one = pb.ModelInferRequest.InferInputTensor(name=name, datatype="INT32", shape=[1, 1])
    one.contents.int_contents.append(_TOKENS)
    return one


def _true(name: str) -> Any:
    one = pb.ModelInferRequest.InferInputTensor(name=name, datatype="BOOL", shape=[1, 1])
    one.contents.bool_contents.append(True)
    return one


def _text_of(response: Any) -> str:
    return _output(response, "text_output")[4:].decode()


def _output(response: Any, name: str) -> bytes:
    if response.error_message:
        raise ValueError(response.error_message)
    names = [output.name for output in response.infer_response.outputs]
    data: bytes = response.infer_response.raw_output_contents[names.index(name)]
    return data


def _said(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        with error:
            return error.read().decode(errors="replace")
    with contextlib.suppress(AttributeError):
        return str(error.details())  # type: ignore[attr-defined] # of gRPC
    return str(error)
