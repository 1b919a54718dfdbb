"""The synchronous client over gRPC streaming."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from nemotron_client._errors import from_rpc_error, from_stream_error
from nemotron_client._protocol import ENSEMBLE, GENERATING_MODEL, OPTIONS, OUTPUTS, infer_request, output_values
from nemotron_client._types import ContentDelta, Event, ReasoningDelta, Reply, ToolCall, ToolCallDelta, Usage

DEFAULT_URL = "grpc://127.0.0.1:8001"
_SCHEME = "grpc://"
_CANCEL_TIMEOUT_S = 5.0
_JSON_OPTIONS = ("tools", "tool_choice", "response_format")
_CHANNEL_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


class Client:
    """A connection to one server. Thread-safe: streams may run side by side."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        """Open a channel; nothing is sent yet.

        Args:
            url: `grpc://HOST:PORT`.

        Raises:
            ValueError: another scheme.
        """
        if not url.startswith(_SCHEME):
            raise ValueError(f"{url!r} was given, expected a URL like {DEFAULT_URL}")
        self.url = url
        self._channel = grpc.insecure_channel(url.removeprefix(_SCHEME), options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Reply:
        """Send a conversation and wait for the whole answer.

        Args:
            messages: OpenAI's shape: `{"role": "user", "content": "…"}`.
            options: `thinking`, `max_tokens`, `max_thinking_tokens`, `temperature`, `top_p`, `top_k`, `seed`,
                `stop_words`, `bad_words`, `min_tokens`, `repetition_penalty`, `presence_penalty`,
                `frequency_penalty`, `repetition_guard`, `priority`, `timeout_ms`; and in OpenAI's shapes `tools`,
                `tool_choice`, `response_format`.

        Raises:
            NemotronError: see `nemotron_client`'s errors.
            TypeError: an option that does not exist, or of another type.
            ValueError: a number out of its type's range.
        """
        with self._start(messages, False, options) as stream:
            return stream.get_final()

    def stream_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> ChatStream:
        """Send a conversation and read the answer while it is written.

        Takes what `chat` takes. Use the stream in a `with` block: leaving it early cancels the answer on the server.
        """
        return self._start(messages, True, options)

    def cancel(self, request_id: str) -> None:
        """Stop a request on the server; an unknown one is ignored.

        An ensemble does not pass the end of a connection on to its steps, so this sends TensorRT-LLM's own stop
        request to the generating model.
        """
        request = infer_request(GENERATING_MODEL, request_id, {"stop": True}, ("finish_reason",))
        with contextlib.suppress(grpc.RpcError):
            list(self._stub.ModelStreamInfer(iter([request]), timeout=_CANCEL_TIMEOUT_S))

    def close(self) -> None:
        """Close the connection; running streams end."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, messages: Sequence[Mapping[str, Any]], stream: bool, options: Mapping[str, Any]) -> ChatStream:
        request_id = uuid.uuid4().hex
        if unknown := options.keys() - OPTIONS:
            raise TypeError(f"{min(unknown)!r} is no option, expected one of {', '.join(sorted(OPTIONS))}")
        given = {name: _as_input(name, value) for name, value in options.items() if value is not None and value != []}
        inputs = {"messages": json.dumps(messages, ensure_ascii=False), "stream": stream, **given}
        request = infer_request(ENSEMBLE, request_id, inputs, OUTPUTS)
        call = self._stub.ModelStreamInfer(iter([request]))
        return ChatStream(self, call, request_id)


class ChatStream:
    """An answer that is being written: iterate over its events, then read `get_final()`."""

    def __init__(self, client: Client, call: Any, request_id: str) -> None:
        self.request_id = request_id
        self._client = client
        self._call = call
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._final: Reply | None = None
        self._events = self._read()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def get_final(self) -> Reply:
        """Read to the end and return the whole answer.

        Raises:
            NemotronError: the answer did not come to its end.
        """
        for _ in self._events:
            pass
        if self._final is None:
            raise RuntimeError("The stream was closed before its end.")
        return self._final

    def close(self) -> None:
        """Stop reading. An answer that has not ended is cancelled on the server."""
        if self._final is None and not self._call.done():
            self._client.cancel(self.request_id)
            self._call.cancel()
        self._events.close()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> Generator[Event, None, None]:
        try:
            for response in self._call:
                if response.error_message:
                    raise from_stream_error(response.error_message, request_id=self.request_id, url=self._client.url)
                values = output_values(response.infer_response)
                if text := values["reasoning_content"]:
                    self._reasoning.append(text)
                    yield ReasoningDelta(text)
                if text := values["content"]:
                    self._content.append(text)
                    yield ContentDelta(text)
                for call in json.loads(values["tool_calls"] or "[]"):
                    self._tool_calls.append(ToolCall(call["id"], **call["function"]))
                    yield ToolCallDelta(self._tool_calls[-1])
                if values["finish_reason"]:
                    self._final = self._reply(values)
        except grpc.RpcError as error:
            raise from_rpc_error(error, request_id=self.request_id, url=self._client.url) from error

    def _reply(self, values: Mapping[str, Any]) -> Reply:
        return Reply(
            content="".join(self._content),
            reasoning_content="".join(self._reasoning),
            tool_calls=tuple(self._tool_calls),
            finish_reason=values["finish_reason"],
            thinking_budget_reached=values["thinking_budget_reached"],
            usage=Usage(values["num_input_tokens"], values["num_output_tokens"], values["num_reasoning_tokens"]),
            request_id=self.request_id,
        )


def _as_input(name: str, value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if name in _JSON_OPTIONS and not isinstance(value, str) else value
