"""All streams of one postprocessing model: stream events and token ids to typed fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from nemotron_serving.errors import EngineError
from nemotron_serving.output.assembler import Assembler, OutputDelta, OutputRules
from nemotron_serving.output.detokenizer import Vocabulary


class StreamEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the generating model says with the token ids of a response: the JSON of `stream_event`.

    Attributes:
        stream_id: Unique among the streams of the generating process.
        begins: In the first response of a stream, how to read it.
        finish_reason: In the last response.
        error: In the last response of a stream that failed.
    """

    stream_id: int
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

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._streams: dict[int, Assembler] = {}

    def __len__(self) -> int:
        """Streams with state: 0 when nothing is in flight."""
        return len(self._streams)

    def accept(self, event_json: bytes, token_ids: Iterable[int]) -> TextDelta:
        """Read one response.

        Raises:
            EngineError: the stream has failed in the generating model, or its beginning is not known.
        """
        event = msgspec.json.decode(event_json, type=StreamEvent)
        if event.begins is not None:
            self._streams[event.stream_id] = Assembler(self._vocabulary, event.begins)
        assembler = self._streams.get(event.stream_id)
        last = bool(event.finish_reason or event.error)
        if last:
            self._streams.pop(event.stream_id, None)
        if event.error:
            raise EngineError(event.error)
        if assembler is None:
            raise EngineError(f"stream {event.stream_id} is not known; it began before postprocessing was restarted")
        delta = assembler.feed(token_ids)
        if last:
            delta = OutputDelta(*(new + rest for new, rest in zip(delta, assembler.flush(), strict=True)))
        return TextDelta(delta, assembler.num_reasoning_tokens, event.finish_reason)
