"""All streams of one postprocessing model: stream events and token ids to typed fields."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from nemotron_serving.engine import TokenLogprob
from nemotron_serving.errors import EngineError, InvalidRequestError, failure
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.fields import TextFields

_LOOK_S = 0.5  # between two looks at a stream's caller; each is a round trip to Triton, 0.05 ms of CPU


class StreamEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the generating model says with the token ids of a response: the JSON of `stream_event`.

    Attributes:
        slot: Streams in flight have different ones, and a later stream takes the slot of one that has ended.
        number: Higher than that of every earlier stream in the slot.
        sequence: 0 in the first response of a stream, one more in each that follows.
        begins: In the first response, how to read the stream.
        expires: In the first response, when the stream has certainly ended, in seconds on CLOCK_MONOTONIC.
        finish_reason: In the last response.
        error: In the last response of a stream that failed.
        refused: Whether the error is the caller's, with the field that is at fault at its beginning.
        states: Outputs that are handed on as they are, by name, where they say something.
        logprobs: One entry a token of the response; none where they were not asked for.
    """

    slot: int
    number: int
    sequence: int = 0
    begins: OutputRules | None = None
    expires: float | None = None
    finish_reason: str = ""
    error: str = ""
    refused: bool = False
    states: dict[str, bool] = {}
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass
class _State:
    """What is known of the latest stream in a slot; `fields` is None once it has ended.

    `next_look` is when to see whether the caller is still there; None once it has left.
    """

    number: int
    expires: float
    fields: TextFields | None
    next_sequence: int = 1
    next_look: float | None = 0.0


class Postprocessor:
    """Keeps the state of each stream, from its first response to its last.

    Its model can be called by anyone with what the generating model once wrote, in any order and at any time. A stream
    that is in flight keeps its state all the same: only a later stream of the generating model takes its slot, so there
    is always room for as many as are in flight, and nothing else is kept for longer than that or its own deadline.

    Args:
        vocabulary: To read token ids with.
        max_streams: Slots.
        report_departure: Gets the number of a stream whose caller has left; returns whether somebody hears it.
        clock: Gives seconds on CLOCK_MONOTONIC.

    Attributes:
        num_reasoning_tokens: Tokens of thinking in all streams that have ended.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_streams: int,
        report_departure: Callable[[int], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vocabulary = vocabulary
        self._max_streams = max_streams
        self._report_departure = report_departure
        self._clock = clock
        self._slots: dict[int, _State] = {}
        self.num_reasoning_tokens = 0

    def count_streams(self) -> int:
        """Drop what has expired, and count the streams with state: 0 when nothing is in flight."""
        now, states = self._clock(), list(self._slots.values())
        for state in states:
            if state.expires <= now:
                state.fields = None
        return sum(state.fields is not None for state in states)

    def accept(
        self, event_json: bytes, token_ids: Sequence[int], has_left: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """The outputs of one response, by name: all that are always sent, and those that have something to say.

        Args:
            event_json: A `StreamEvent`.
            token_ids: What is new.
            has_left: Whether the caller is gone, as the response's own request knows it; asked now and then.

        Raises:
            InvalidRequestError: an event that the generating model would not send, or not now.
            EngineError: the stream has failed in the generating model, or its beginning is not known.
        """
        event = self._read(event_json)
        last = bool(event.finish_reason or event.error)
        fields = self._fields(event, last)
        if not last:
            self._look(self._slots[event.slot], has_left)
        if event.error:
            raise failure(event.error, refused=event.refused)
        if event.logprobs and len(event.logprobs) != len(token_ids):
            raise InvalidRequestError("stream_event", f"{len(event.logprobs)} logprobs for {len(token_ids)} tokens")
        outputs = fields.of_response(token_ids, event.logprobs, event.finish_reason, event.states)
        if last:
            self.num_reasoning_tokens += fields.num_reasoning_tokens
        return outputs

    def _read(self, event_json: bytes) -> StreamEvent:
        try:
            event = msgspec.json.decode(event_json, type=StreamEvent)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequestError("stream_event", f"{error}; it is written by the generating model") from error
        if not 0 <= event.slot < self._max_streams or (event.begins is None) != (event.sequence > 0):
            raise InvalidRequestError("stream_event", "it is written by the generating model")
        return event

    def _fields(self, event: StreamEvent, last: bool) -> TextFields:
        """The event's own; it is let go of with the last one."""
        state = self._slots.get(event.slot)
        if event.begins is not None:
            if (event.expires or 0.0) <= self._clock() or (state is not None and state.number >= event.number):
                raise _out_of_turn()
            fields = TextFields(self._vocabulary, event.begins)
            self._slots[event.slot] = _State(event.number, event.expires or 0.0, None if last else fields)
            return fields
        if state is None or state.number < event.number:
            raise EngineError("the stream is not known; it began before postprocessing was restarted")
        if state.fields is None or (state.number, state.next_sequence) != (event.number, event.sequence):
            raise _out_of_turn()
        fields = state.fields
        state.next_sequence += 1
        if last:
            state.fields = None
        return fields

    def _look(self, state: _State, has_left: Callable[[], bool]) -> None:
        """See whether the caller is there; see `nemotron_serving.generation.leaving`."""
        now = self._clock()
        if state.next_look is not None and state.next_look <= now:
            told = has_left() and self._report_departure(state.number)
            state.next_look = None if told else now + _LOOK_S


def _out_of_turn() -> InvalidRequestError:
    return InvalidRequestError("stream_event", "its turn is over or has not come; each is read once, in their order")
