"""All streams of one postprocessing model: stream events and token ids to typed fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

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
    """

    stream_key: str
    begins: OutputRules | None = None
    finish_reason: str = ""
    error: str = ""


class TextDelta(NamedTuple):
    """New text of one response; finish_reason is empty before the last one."""

    text: OutputDelta
    num_reasoning_tokens: int
    finish_reason: str


class Postprocessor:
    """Keeps one assembler a stream, from its first response to its last."""

    def __init__(self, vocabulary: Vocabulary, max_streams: int) -> None:
        self._vocabulary = vocabulary
        self._max_streams = max_streams
        self._streams: dict[str, Assembler] = {}

    def __len__(self) -> int:
        """Streams with state: 0 when nothing is in flight."""
        return len(self._streams)

    def accept(self, event_json: bytes, token_ids: Iterable[int]) -> TextDelta:
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
            delta = OutputDelta(*(new + rest for new, rest in zip(delta, assembler.flush(), strict=True)))
        return TextDelta(delta, assembler.num_reasoning_tokens, event.finish_reason)

    def _read(self, event_json: bytes) -> StreamEvent:
        try:
            event = msgspec.json.decode(event_json, type=StreamEvent)
        except msgspec.DecodeError as error:
            raise InvalidRequestError("stream_event", f"{error}; it is written by the generating model") from error
        if event.begins is not None:
            if event.stream_key in self._streams or len(self._streams) >= self._max_streams:
                raise InvalidRequestError("stream_event", "a stream that has begun, or one too many")
            self._streams[event.stream_key] = Assembler(self._vocabulary, event.begins)
        return event
