"""One request on its way through the engine: think, close the thinking, answer.

A thinking budget, and a grammar for the answer alone, need nothing from the engine but prefix reuse: when the thinking
is over the running sequence is aborted and a second one is submitted, whose prompt is the first prompt, the thinking
and its closing tag. All of this runs on the service's one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import msgspec

from nemotron_serving.contract import FinishReason
from nemotron_serving.engine import Delta, Engine, EngineRequest, TokenLogprob
from nemotron_serving.generation.budget import AFTER_CLOSE_TAG, ThinkingBudget
from nemotron_serving.generation.leaving import RequestName
from nemotron_serving.generation.repetition import RepetitionGuard
from nemotron_serving.generation.response import Response
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.output.assembler import Assembler
from nemotron_serving.output.detokenizer import Vocabulary

_AFTER_CLOSE_TAG = AFTER_CLOSE_TAG.encode()
_EXPIRY_GRACE_S = 60.0  # from the deadline until the last response has reached postprocessing at the latest
_FORCED = TokenLogprob(0.0)  # of a token that was not chosen by the model: its probability is 1


class Outlet(Protocol):
    """Through which responses go: those of one stream to a caller of its own, or those of a session's streams.

    Attributes:
        cpu_ratio: CPU time that a response takes in all the server's processes, over what the pump's thread takes.
    """

    cpu_ratio: ClassVar[float]

    def add(self, stream: Stream) -> None:
        """Take a stream; it may refuse it by a ServingError. In any thread; the rest is for the pump's alone."""

    def remove(self, stream: Stream) -> None:
        """Forget a stream that has told its end, or that nobody hears."""

    @property
    def empty(self) -> bool:
        """Whether it has no streams."""

    @property
    def full(self) -> bool:
        """Whether it takes nothing for now."""

    def send_news(self) -> list[Stream]:
        """Send what is new, as far as the receiver takes it. Returns the streams whose end was told."""

    def is_cancelled(self) -> bool:
        """Whether the caller is known to have left, where nobody else looks."""


@dataclass
class Times:
    """When a stream came, when the engine had it, and when its first token was here and its last.

    All on the service's clock.
    """

    came: float
    started: float | None = None
    first: float | None = None
    done: float | None = None


@dataclass
class Stream:
    """The state of one request.

    Attributes:
        stream_id: Also the engine's id of the first phase; later phases take new ids from `new_id`.
        names: What a stop has to say, one of them; the id, which they share, is for the log as well, and may be empty.
        guide: Grammar of the answer in xgrammar's EBNF; None leaves it free.
        deadline: On the service's clock.
        times: As far as they are known.
        refused: Whether `error` is the caller's, with the field that is at fault at its beginning.
        slot: The one that this stream has until its end, of those that the service has for streams in flight.
        outlet: Through which its responses go.
        number: Nanoseconds of time.monotonic_ns when it took the slot: more than every earlier stream's there.
        num_reasoning_tokens: Tokens of thinking, once the stream is over, where its outlet reads them.
    """

    stream_id: int
    names: tuple[RequestName, ...]
    prompt_ids: list[int]
    settings: GenerationSettings
    guide: str | None
    outlet: Outlet
    deadline: float
    times: Times
    engine: Engine
    vocabulary: Vocabulary
    new_id: Callable[[], int]
    deliver: Callable[[Stream, int, Delta], None]
    slot: int = 0
    number: int = 0
    num_reasoning_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: str | None = None
    refused: bool = False
    _engine_id: int = 0
    _output_ids: list[int] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    _cum_log_prob: float = 0.0
    _cached_tokens: int | None = None
    _budget: ThinkingBudget | None = None
    _budget_reached: bool = False
    _past_thinking: bool = False
    _sent: int = 0
    _num_responses: int = 0
    _told_end: bool = False
    _text: Assembler | None = None
    _guard: RepetitionGuard | None = None

    def __post_init__(self) -> None:
        self._budget = self.settings.budget

    @property
    def client_id(self) -> str:
        """The id that the caller gave the request; may be empty."""
        return self.names[0].id

    @property
    def has_responses(self) -> bool:
        """Whether a response was taken."""
        return self._num_responses > 0

    @property
    def started(self) -> bool:
        """Whether the engine has or had this request."""
        return self._engine_id != 0

    @property
    def has_output(self) -> bool:
        """Whether the first token has come: the prefill is over."""
        return bool(self._output_ids)

    @property
    def num_output_tokens(self) -> int:
        """Output tokens so far, those that nobody was sent yet included."""
        return len(self._output_ids)

    @property
    def num_cached_tokens(self) -> int:
        """Tokens of the prompt that the engine took from its prefix cache; 0 if it does not say."""
        return self._cached_tokens or 0

    @property
    def finished(self) -> bool:
        """Whether the engine has nothing more to do for this request."""
        return self.finish_reason is not None or self.error is not None

    @property
    def has_news(self) -> bool:
        """Whether there is something to send."""
        return not self.told_all and (self.finished or self._sent < len(self._output_ids))

    @property
    def told_all(self) -> bool:
        """Whether the last response was taken."""
        return self._told_end

    def start(self) -> None:
        """Submit to the engine.

        Raises:
            EngineError: the engine takes no requests.
        """
        rules = self.settings.output
        if rules is not None and (self._budget or self.guide or rules.stop_words):
            self._text = Assembler(self.vocabulary, rules)
        if self.settings.repetition_guard:
            self._guard = RepetitionGuard()
        thinks_first = self._text is not None and self._text.thinking
        self._submit(self.stream_id, guided=not thinks_first)

    def accept(self, engine_id: int, delta: Delta) -> None:
        """Take news from the engine; news of an abandoned phase are dropped.

        Raises:
            EngineError: the engine does not take the answer's phase.
        """
        if self.finished or engine_id != self._engine_id:
            return
        if delta.cached_tokens is not None:
            self._cached_tokens = delta.cached_tokens
        for index, token in enumerate(delta.token_ids):
            if self._text is None:  # nothing is to be found in the rest
                self._append(delta.token_ids[index:], delta.logprobs[index:])
                break
            self._append([token], delta.logprobs[index : index + 1])
            self._read(self._text, token)
            if self.finished or engine_id != self._engine_id:
                return
        if delta.error is not None:
            self.error = delta.error
            if delta.refused:
                self.refused, self.error = True, f"{self.settings.form_field}: {delta.error}"
        elif delta.finish_reason is not None:
            if delta.finish_reason == "stop" and self._text is not None and self._text.thinking and self._may_close():
                self._close_thinking(self._text)
            else:
                self.finish_reason = "stop" if self._stop_word_at_end() else delta.finish_reason
        elif self._guard is not None and self._guard.loops(self._output_ids):
            self.end("repetition")

    def end_thinking(self) -> bool:
        """Close the thinking behind the last whole character, and let the model answer.

        Returns:
            Whether that is done, or will be at the next token or two. False, and nothing done, for a request that does
            not think, or not any more, or that has no token left for an answer.

        Raises:
            EngineError: the engine does not take the answer's phase.
        """
        if self.finished or self._past_thinking or not self._has_room_to_close:
            return False
        if self.started and not self._thinks():
            return False
        self._budget = ThinkingBudget.over_now(len(self._output_ids))
        if self._text is not None and self._text.thinking and self.has_output:
            self._watch_budget(self._text, self._output_ids[-1])
        return True

    def end(self, reason: FinishReason) -> None:
        """Finish now: cancelled, out of time, or by a rule."""
        if not self.finished:
            self.finish_reason = reason
            self._abort()

    def fail(self, error: str) -> None:
        """Finish now, with an error."""
        if not self.finished:
            self.error = error
            self._abort()

    def note_time(self, now: float) -> None:
        """Something may have happened to it just now."""
        times = self.times
        if times.started is None and self.started:
            times.started = now
        if times.first is None and self._output_ids:
            times.first = now
        if times.done is None and self.finished:
            times.done = now

    def take_responses(self, most_tokens: int | None = None) -> list[Response]:
        """What is new since the last call; in a stream, tokens that came before an error go ahead of it.

        Args:
            most_tokens: So many in one response; the rest is new at the next call.
        """
        begin, end = self._sent, len(self._output_ids)
        fails_whole = self.error is not None and not self.settings.stream
        if most_tokens is not None and end - begin > most_tokens and not fails_whole:
            self._sent = begin + most_tokens
            return [self._response(begin, None, None)]
        self._sent = end
        self._told_end = self.finished
        if self.error is not None and begin < end and not fails_whole:
            return [self._response(begin, None, None), self._response(end, None, self.error)]
        return [self._response(begin, self.finish_reason, self.error)]

    def _response(self, begin: int, finish_reason: FinishReason | None, error: str | None) -> Response:
        sequence = self._num_responses
        self._num_responses += 1
        logprobs = self._logprobs[begin : self._sent]
        self._cum_log_prob += sum(one.logprob for one in logprobs)
        return Response(
            slot=self.slot,
            number=self.number,
            expires=self.deadline + _EXPIRY_GRACE_S,
            sequence=sequence,
            token_ids=self._output_ids[begin : self._sent],
            prompt_ids=self.prompt_ids if self.settings.include_prompt else [],
            logprobs=logprobs,
            cum_log_prob=None if self.settings.sampling.logprobs is None else self._cum_log_prob,
            num_input_tokens=len(self.prompt_ids),
            num_output_tokens=self._sent,
            num_cached_tokens=self._cached_tokens,
            states={"thinking_budget_reached": True} if self._budget_reached else {},
            for_text=self.settings.output is not None,
            begins=None if sequence else self.settings.output,
            finish_reason=finish_reason,
            error=error,
            refused=self.refused and error is not None,
        )

    def _append(self, token_ids: Sequence[int], logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        """Take tokens into the output; those without log probabilities were not chosen by the model."""
        self._output_ids += token_ids
        if self.settings.sampling.logprobs is not None:
            self._logprobs += logprobs or [_FORCED] * len(token_ids)

    def _read(self, text: Assembler, token: int) -> None:
        was_thinking = text.thinking
        text.feed((token,))
        if text.stopped:
            self.end("stop")
        elif text.thinking:
            self._watch_budget(text, token)
        elif was_thinking and self.guide is not None:
            self._begin_guided_answer(text, token)
        elif not text.undecided:
            self._past_thinking = True
            if self.settings.output is not None and not self.settings.output.stop_words:
                self._text = None  # nothing else is to be found in it

    def _thinks(self) -> bool:
        """Whether the output ends inside thinking, or may turn out to. Looks into it from now on, if it does."""
        text = self._text
        if text is None and self.settings.output is not None:
            text = Assembler(self.vocabulary, self.settings.output)
            text.feed(self._output_ids)
        self._past_thinking = text is None or not (text.thinking or text.undecided)
        if not self._past_thinking:
            self._text = text
        return not self._past_thinking

    def _watch_budget(self, text: Assembler, token: int) -> None:
        budget = self._budget
        if budget is None or not self._may_close():
            return
        ends_line = self.vocabulary.bytes_of(token).endswith(b"\n")
        if budget.is_over(len(self._output_ids), ends_line=ends_line, mid_character=text.mid_character):
            self._budget_reached = True
            self._close_thinking(text)

    def _stop_word_at_end(self) -> bool:
        # A stop word may stand in text that was held back for a longer one.
        if self._text is not None:
            self._text.flush()
        return self._text is not None and self._text.stopped

    def _may_close(self) -> bool:
        return self._budget is not None and self._has_room_to_close

    @property
    def _has_room_to_close(self) -> bool:
        """Whether there is something to close the thinking with, that leaves a token for the answer."""
        return 0 < len(self.settings.close_ids) < self.settings.max_tokens - len(self._output_ids)

    def _close_thinking(self, text: Assembler) -> None:
        """Write the closing tag for the model, and let it answer."""
        self._append(self.settings.close_ids)
        text.feed(self.settings.close_ids)
        self._answer()

    def _begin_guided_answer(self, text: Assembler, token: int) -> None:
        """The model has closed its thinking: from here on the grammar holds.

        The token that completed the tag may have begun the answer as well. Then it is spelled anew up to the tag, and
        so is the space that models put between the two, for a grammar begins with the answer's first character.
        """
        begun = text.after_thinking.encode()
        if begun.strip():
            tag_end = self.vocabulary.bytes_of(token).removesuffix(begun)
            self._output_ids.pop()
            self._logprobs[len(self._output_ids) :] = []
            self._append(self.vocabulary.spell(tag_end + _AFTER_CLOSE_TAG))
        else:
            self._append(self.vocabulary.spell(_AFTER_CLOSE_TAG.removeprefix(begun)))
        if len(self._output_ids) >= self.settings.max_tokens:
            del self._output_ids[self.settings.max_tokens :], self._logprobs[self.settings.max_tokens :]
            self.end("length")
            return
        # The text as it is now: with other tokens at its end.
        assert self.settings.output is not None  # noqa: S101 - without it there is no text to read
        self._text = Assembler(self.vocabulary, self.settings.output)
        self._text.feed(self._output_ids)
        self._answer()

    def _answer(self) -> None:
        """Have the answer generated in place of more thinking."""
        # First, so that what it leaves in the prefix cache is there for the answer.
        self._abort()
        self._submit(self.new_id(), guided=True)

    def _abort(self) -> None:
        if self._engine_id:
            self.engine.abort(self._engine_id)

    def _submit(self, engine_id: int, *, guided: bool) -> None:
        self._engine_id = engine_id
        sampling = self.settings.sampling
        min_tokens = max(0, sampling.min_tokens - len(self._output_ids))
        request = EngineRequest(
            request_id=engine_id,
            prompt_ids=self.prompt_ids + self._output_ids,
            max_tokens=self.settings.max_tokens - len(self._output_ids),
            sampling=msgspec.structs.replace(sampling, min_tokens=min_tokens),
            stop_token_ids=frozenset(self.settings.stop_token_ids),
            guide=self.guide if guided else None,
            watched=self._watched(),
        )
        self.engine.submit(request, lambda delta: self.deliver(self, engine_id, delta))

    def _watched(self) -> tuple[int, int] | None:
        budget = self._budget
        if budget is None or self._text is None or not (self._text.thinking or self._text.undecided):
            return None
        return budget.watched
