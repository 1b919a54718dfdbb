"""One request on its way through the engine: think, close the thinking, answer.

A thinking budget needs nothing from the engine but prefix reuse: at the budget the running sequence is aborted and
a second one is submitted whose prompt is the first prompt, the thinking and its closing tag. All of this runs on
the service's one thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from nemotron_serving.engine.base import Delta, Engine, EngineRequest
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.output.assembler import Assembler, OutputRules
from nemotron_serving.output.detokenizer import Vocabulary

_MAX_CHARACTER_TOKENS = 3  # that a UTF-8 character may still need once it has begun

FinishReason = Literal["stop", "length", "cancelled", "timeout"]


@dataclass(frozen=True)
class Response:
    """What the caller gets at one time.

    Attributes:
        stream_key: Names the stream to postprocessing; nobody else can guess it.
        token_ids: New output tokens.
        num_input_tokens: Tokens of the prompt.
        num_output_tokens: Output tokens so far.
        for_text: Whether postprocessing follows; a token-level caller gets these responses as they are.
        begins: In the first response, how postprocessing reads the stream.
        finish_reason: Set in the last response.
        error: Set in the last response of a request that failed.
    """

    stream_key: str
    token_ids: list[int]
    num_input_tokens: int
    num_output_tokens: int
    for_text: bool
    begins: OutputRules | None
    finish_reason: FinishReason | None
    error: str | None

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.finish_reason is not None or self.error is not None


class Sink(Protocol):
    """Where a stream's responses go."""

    def send(self, response: Response) -> None:
        """Deliver a response; may block for as long as the receiver takes."""

    def is_cancelled(self) -> bool:
        """Whether the receiver is known to have left."""


@dataclass
class Stream:
    """The state of one request.

    Attributes:
        stream_id: Also the engine's id of the first phase; later phases take new ids from `new_id`.
        client_id: The caller's request id, for cancelling; may be empty.
        deadline: On the clock of time.monotonic.
        last_sent: The same clock; when the last response was sent.
        queued: Whether the service has a time set for the next response.
        begun: Whether a response was sent.
    """

    stream_id: int
    client_id: str
    prompt_ids: list[int]
    settings: GenerationSettings
    sink: Sink
    deadline: float
    engine: Engine
    vocabulary: Vocabulary
    new_id: Callable[[], int]
    deliver: Callable[[Stream, int, Delta], None]
    finish_reason: FinishReason | None = None
    error: str | None = None
    last_sent: float = 0.0
    queued: bool = False
    begun: bool = False
    _key: str = field(default_factory=lambda: secrets.token_hex(8))
    _engine_id: int = 0
    _output_ids: list[int] = field(default_factory=list)
    _sent: int = 0
    _text: Assembler | None = None

    @property
    def finished(self) -> bool:
        """Whether the engine has nothing more to do for this request."""
        return self.finish_reason is not None or self.error is not None

    @property
    def has_news(self) -> bool:
        """Whether there is something to send."""
        return self.finished or self._sent < len(self._output_ids)

    def start(self) -> None:
        """Submit to the engine, unless the request has ended already.

        Raises:
            EngineError: the engine takes no requests.
        """
        if self.finished:  # cancelled before its turn came
            return
        rules = self.settings.output
        if rules is not None and (self.settings.budget is not None or rules.stop_words):
            self._text = Assembler(self.vocabulary, rules)
        self._submit(self.stream_id)

    def accept(self, engine_id: int, delta: Delta) -> None:
        """Take news from the engine; news of an abandoned phase are dropped.

        Raises:
            EngineError: the engine does not take the answer's phase.
        """
        if self.finished or engine_id != self._engine_id:
            return
        if self._text is None:
            self._output_ids += delta.token_ids
        else:
            for token in delta.token_ids:
                self._output_ids.append(token)
                self._read(self._text, token)
                if self.finished or engine_id != self._engine_id:
                    return
        if delta.error is not None:
            self.error = delta.error
        elif delta.finish_reason is not None:
            if delta.finish_reason == "stop" and self._text is not None and self._text.thinking and self._may_close():
                self._close_thinking()
            else:
                self.finish_reason = "stop" if self._stop_word_at_end() else delta.finish_reason

    def end(self, reason: FinishReason) -> None:
        """Finish now: cancelled or out of time."""
        if not self.finished:
            self.finish_reason = reason
            if self._engine_id:
                self.engine.abort(self._engine_id)

    def fail(self, error: str) -> None:
        """Finish now, with an error."""
        if not self.finished:
            self.error = error
            if self._engine_id:
                self.engine.abort(self._engine_id)

    def take_responses(self) -> list[Response]:
        """What is new since the last call; tokens that came before an error go ahead of it."""
        token_ids = self._output_ids[self._sent :]
        self._sent = len(self._output_ids)
        if self.error is not None and token_ids and self.settings.stream:
            return [self._response(token_ids, None, None), self._response([], None, self.error)]
        return [self._response(token_ids, self.finish_reason, self.error)]

    def _response(self, token_ids: list[int], finish_reason: FinishReason | None, error: str | None) -> Response:
        begins = None if self.begun else self.settings.output
        self.begun = True
        return Response(
            stream_key=self._key,
            token_ids=token_ids,
            num_input_tokens=len(self.prompt_ids),
            num_output_tokens=self._sent,
            for_text=self.settings.output is not None,
            begins=begins,
            finish_reason=finish_reason,
            error=error,
        )

    def _read(self, text: Assembler, token: int) -> None:
        text.feed((token,))
        if text.stopped:
            self.end("stop")
        elif text.thinking:
            self._watch_budget(text, token)
        elif self.settings.output is not None and not self.settings.output.stop_words:
            # The thinking is over and nothing else is to be found in the text.
            self._text = None

    def _watch_budget(self, text: Assembler, token: int) -> None:
        budget = self.settings.budget
        if budget is None or len(self._output_ids) < budget.max_tokens or not self._may_close():
            return
        # Past the grace, only a character that has begun is still waited for.
        over_grace = len(self._output_ids) - budget.max_tokens - budget.grace_tokens
        ends_line = self.vocabulary.bytes_of(token).endswith(b"\n")
        if ends_line or (over_grace >= 0 and not text.mid_character) or over_grace >= _MAX_CHARACTER_TOKENS:
            self._close_thinking()

    def _stop_word_at_end(self) -> bool:
        # A stop word may stand in text that was held back for a longer one.
        if self._text is not None:
            self._text.flush()
        return self._text is not None and self._text.stopped

    def _may_close(self) -> bool:
        budget = self.settings.budget
        return budget is not None and len(self._output_ids) + len(budget.close_ids) < self.settings.max_tokens

    def _close_thinking(self) -> None:
        assert self.settings.budget is not None and self._text is not None  # noqa: S101 - both callers have checked
        self.engine.abort(self._engine_id)
        self._output_ids += self.settings.budget.close_ids
        self._text.feed(self.settings.budget.close_ids)
        self._submit(self.new_id())

    def _submit(self, engine_id: int) -> None:
        self._engine_id = engine_id
        sampling = self.settings.sampling
        min_tokens = max(0, sampling.min_tokens - len(self._output_ids))
        request = EngineRequest(
            request_id=engine_id,
            prompt_ids=self.prompt_ids + self._output_ids,
            max_tokens=self.settings.max_tokens - len(self._output_ids),
            sampling=msgspec.structs.replace(sampling, min_tokens=min_tokens),
            stop_token_ids=frozenset(self.settings.stop_token_ids),
        )
        self.engine.submit(request, lambda delta: self.deliver(self, engine_id, delta))
