"""All streams of one postprocessing model: stream events and token ids to typed fields."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from nemotron_serving.engine.base import TokenLogprob
from nemotron_serving.errors import EngineError, InvalidRequestError
from nemotron_serving.output.assembler import Assembler, OutputDelta, OutputRules
from nemotron_serving.output.detokenizer import Vocabulary


class StreamEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the generating model says with the token ids of a response: the JSON of `stream_event`.

    Attributes:
        stream_key: Names the stream; only the generating model and postprocessing know it.
        begins: In the first response of a stream, how to read it.
        finish_reason: In the last response.
        error: In the last response of a stream that failed.
        thinking_budget_reached: Whether the thinking was closed for the model.
        logprobs: One entry a token of the response; none where they were not asked for.
    """

    stream_key: str
    begins: OutputRules | None = None
    finish_reason: str = ""
    error: str = ""
    thinking_budget_reached: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()


class TextDelta(NamedTuple):
    """What is new in one response.

    Attributes:
        text: New text by field.
        tool_calls: The calls that became complete, a JSON list in OpenAI's shape; empty if there are none.
        tool_call_error: The first call that could not be read, a JSON object (see `ToolCallError`); empty if it is not
            in this response.
        num_reasoning_tokens: A running total.
        finish_reason: Empty before the last response. `tool_calls` if the model stopped and has called a tool.
        thinking_budget_reached: Whether the thinking was closed for the model.
        logprobs: A JSON list in OpenAI's shape, one entry a token; empty if they were not asked for.
    """

    text: OutputDelta
    tool_calls: str
    tool_call_error: str
    num_reasoning_tokens: int
    finish_reason: str
    thinking_budget_reached: bool
    logprobs: str


class Postprocessor:
    """Keeps one assembler a stream, from its first response to its last."""

    def __init__(self, vocabulary: Vocabulary, max_streams: int, secret: str = "") -> None:
        self._vocabulary = vocabulary
        self._max_streams = max_streams
        self._secret = secret
        self._streams: dict[str, Assembler] = {}

    def __len__(self) -> int:
        """Streams with state: 0 when nothing is in flight."""
        return len(self._streams)

    def accept(self, event_json: bytes, token_ids: Sequence[int]) -> TextDelta:
        """Read one response.

        Raises:
            InvalidRequestError: an event that the generating model would not send.
            EngineError: the stream has failed in the generating model, or its beginning is not known.
        """
        event = self._read(event_json)
        assembler = self._streams.get(event.stream_key)
        last = bool(event.finish_reason or event.error)
        if last:
            self._streams.pop(event.stream_key, None)
        if event.error:
            raise EngineError(event.error)
        if assembler is None:
            raise EngineError("the stream is not known; it began before postprocessing was restarted")
        delta = assembler.feed(token_ids)
        if last:
            delta = delta.joined(assembler.flush())
        called = event.finish_reason == "stop" and assembler.has_tool_calls
        prompt = event.begins.prompt if event.begins is not None else ""
        return TextDelta(
            text=delta._replace(text=prompt + delta.text) if prompt else delta,
            tool_calls=msgspec.json.encode(delta.tool_calls).decode() if delta.tool_calls else "",
            tool_call_error=msgspec.json.encode(delta.tool_call_error).decode() if delta.tool_call_error else "",
            num_reasoning_tokens=assembler.num_reasoning_tokens,
            finish_reason="tool_calls" if called else event.finish_reason,
            thinking_budget_reached=event.thinking_budget_reached,
            logprobs=self._logprobs_json(token_ids, event.logprobs) if event.logprobs else "",
        )

    def _read(self, event_json: bytes) -> StreamEvent:
        try:
            event = msgspec.json.decode(event_json, type=StreamEvent)
        except msgspec.DecodeError as error:
            raise InvalidRequestError("stream_event", f"{error}; it is written by the generating model") from error
        if event.begins is not None:
            # The model can be called by anyone, and streams that never end would leave no room for others.
            if not hmac.compare_digest(event.stream_key[: len(self._secret)], self._secret):
                raise InvalidRequestError("stream_event", "it is written by the generating model")
            if event.stream_key in self._streams or len(self._streams) >= self._max_streams:
                raise InvalidRequestError("stream_event", "a stream that has begun, or one too many")
            self._streams[event.stream_key] = Assembler(self._vocabulary, event.begins)
        return event

    def _logprobs_json(self, token_ids: Sequence[int], logprobs: tuple[TokenLogprob, ...]) -> str:
        if len(logprobs) != len(token_ids):
            raise InvalidRequestError("stream_event", f"{len(logprobs)} logprobs for {len(token_ids)} tokens")
        entries = [
            self._logprob(index, chosen) | {"top_logprobs": [self._logprob(*other) for other in top]}
            for index, (chosen, top) in zip(token_ids, logprobs, strict=True)
        ]
        return msgspec.json.encode(entries).decode()

    def _logprob(self, index: int, logprob: float) -> dict[str, Any]:
        text = self._vocabulary.bytes_of(index)
        return {"token": text.decode(errors="replace"), "logprob": logprob, "bytes": list(text)}
