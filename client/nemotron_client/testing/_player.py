"""Plays a reply: as responses, each when it is due, to whoever reads it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nemotron_client._contract import NOTHING_NEW
from nemotron_client.testing._replies import Fault, RecordedRequest, ScriptedReply
from nemotron_client.testing._script import Scripted

Values = dict[str, Any]
_UNKNOWN = -1


class Faulted(Exception):
    """It is time for what goes wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True)
class Running:
    """A request that is being answered.

    Attributes:
        responses: All outputs, each response when it is due. Raises Faulted.
        leave: The caller has gone.
        opens_session: Whether it is the subscription of a session, beside which others are answered.
    """

    responses: Iterator[Values]
    leave: Callable[[], None] = lambda: None
    opens_session: bool = False


@dataclass(frozen=True)
class Step:
    """What comes next.

    Attributes:
        delay_s: How long after the step before; infinite for never.
        values: The outputs of a response; empty where none comes.
        fault: What goes wrong, in place of a response.
    """

    delay_s: float
    values: Values = field(default_factory=dict)
    fault: Fault | None = None


@dataclass(frozen=True)
class _Piece:
    field: str
    text: str
    raw: str  # as the model writes it


class Performance:
    """One playing of a reply, for one request."""

    def __init__(self, reply: ScriptedReply, request: RecordedRequest) -> None:
        self._reply = reply
        self._request = request
        self._reasoning = reply.pieces_of(reply.reasoning_content)
        self._content = reply.pieces_of(reply.content)
        self._size = self._total()
        self._thinking_ended = False
        self._done = 0
        self._told_logprobs = 0

    def steps(self) -> Iterator[Step]:
        """All that comes. A request that asks for no stream gets it in one response."""
        return self._streamed() if self._request.inputs.get("stream") else self._at_once()

    def end_thinking(self) -> bool:
        """Have the answer come next; whether there is thinking left that does not come by that."""
        if self._done >= len(self._reasoning):
            return False
        del self._reasoning[self._done :]
        self._size = self._total()
        self._thinking_ended = True
        return True

    def cancelled(self) -> Values:
        """The last response, when the request is stopped now."""
        return self._last("cancelled")

    @property
    def num_input_tokens(self) -> int:
        """Tokens of the prompt."""
        usage = self._reply.usage
        return self._request.num_words if usage is None else usage.prompt_tokens

    def _streamed(self) -> Iterator[Step]:
        reply = self._reply
        delay = reply.ttft_s
        for piece in self._pieces():
            self._done += 1
            texts = {piece.field: piece.text, "text_output": piece.raw}
            yield Step(delay, self._counts() | self._logprobs() | texts)
            delay = reply.token_s
        yield self._end(delay if reply.fault or not self._done else 0.0)

    def _at_once(self) -> Iterator[Step]:
        reply = self._reply
        if reply.endless:
            yield Step(math.inf)
            return
        self._done = self._size
        end = self._end(reply.ttft_s + reply.token_s * max(0, self._size - 1))
        if end.values:
            pieces = list(self._pieces())
            for name in ("reasoning_content", "content"):
                end.values[name] = "".join(piece.text for piece in pieces if piece.field == name)
            end.values["tool_calls"] = self._calls_json() if reply.tool_calls else ""
            end.values["text_output"] = "".join(piece.raw for piece in pieces)
        yield end

    def _end(self, delay: float) -> Step:
        fault = self._reply.fault
        if fault is not None:
            return Step(math.inf) if fault.kind == "stall" else Step(delay, fault=fault)
        return Step(delay, self._last(self._reply.ends_with()))

    def _logprobs(self) -> Values:
        """Those that are new: each piece brings its share, to a request that asks for them."""
        if not self._request.inputs.get("return_log_probs"):
            return {}
        begin, self._told_logprobs = self._told_logprobs, _share(len(self._reply.logprobs), self._done, self._size)
        new = list(self._reply.logprobs[begin : self._told_logprobs])
        return {"logprobs": json.dumps(new, ensure_ascii=False) if new else ""}

    def _total(self) -> int:
        return len(self._reasoning) + len(self._content) + len(self._reply.tool_calls)

    def _pieces(self) -> Iterator[_Piece]:
        for number, text in enumerate(self._reasoning):
            yield _Piece("reasoning_content", text, text if number else f"<think>\n{text}")
        content = itertools.cycle(self._content) if self._reply.endless else self._content
        for number, text in enumerate(content):
            closes = self._reasoning and not number
            yield _Piece("content", text, f"\n</think>\n\n{text}" if closes else text)
        for call in self._reply.tool_calls:
            raw = f'<TOOLCALL>[{{"name": "{call.name}", "arguments": {call.arguments}}}]</TOOLCALL>'
            yield _Piece("tool_calls", json.dumps([call.as_message_part()], ensure_ascii=False), raw)

    def _calls_json(self) -> str:
        return json.dumps([call.as_message_part() for call in self._reply.tool_calls], ensure_ascii=False)

    def _counts(self) -> Values:
        """A response that has nothing but the running totals."""
        usage = self._reply.usage
        thought = min(self._done, len(self._reasoning))
        counts = {
            "num_input_tokens": self.num_input_tokens,
            "num_output_tokens": self._done,
            "num_reasoning_tokens": thought,
            "num_cached_tokens": _UNKNOWN,
            "thinking_budget_reached": self._thinking_ended
            or (self._reply.thinking_budget_reached and self._done > thought),
        }
        if usage is not None:
            counts["num_output_tokens"] = _share(usage.output_tokens, self._done, self._size)
            counts["num_reasoning_tokens"] = _share(usage.reasoning_tokens, thought, len(self._reasoning))
            counts["num_cached_tokens"] = _UNKNOWN if usage.cached_tokens is None else usage.cached_tokens
        return NOTHING_NEW | counts

    def _last(self, finish_reason: str) -> Values:
        reply = self._reply
        error = reply.tool_call_error if "tools" in self._request.inputs else None
        occasional = {"tool_call_error": json.dumps(vars(error), ensure_ascii=False)} if error else {}
        states = {
            "finish_reason": finish_reason,
            "thinking_budget_reached": reply.thinking_budget_reached or self._thinking_ended,
        }
        return self._counts() | occasional | states | self._logprobs()


def _share(total: int, done: int, size: int) -> int:
    """The running total after `done` of `size` pieces; what comes after them has all of it."""
    return total if done >= size else math.ceil(total * done / size)


class LeftError(Exception):
    """Nobody waits for the reply any more."""


class _Playing:
    """One request and its reply. `wake` ends the wait for the next step."""

    def __init__(
        self, script: Scripted, request: RecordedRequest, reply: ScriptedReply, wake: threading.Event | asyncio.Event
    ) -> None:
        self._script = script
        self._request = request
        self._performance = Performance(reply, request)
        self._steps = self._performance.steps()
        self._package = {"package": reply.package} if reply.package else {}  # until the first response has it
        self._woken = wake
        self._left = False
        self._over = False
        script._begin(request, self)

    @property
    def num_input_tokens(self) -> int:
        """What the responses say of it."""
        return self._performance.num_input_tokens

    def stop(self) -> None:
        """A stop came, in any thread: the reply ends with what has come."""
        self._woken.set()

    def end_thinking(self) -> bool:
        """The answer is wanted now; see `Performance.end_thinking`."""
        return not self._over and self._performance.end_thinking()

    def leave(self) -> None:
        """The reader has gone."""
        self._left = True
        self._script._end(self._request)
        self._woken.set()

    def _next(self) -> Step | None:
        """What comes next; None after the end."""
        return None if self._over else next(self._steps, None)

    def _come(self, step: Step) -> Values:
        """The response that is due now: the step's, or the last one if the request was stopped.

        Raises:
            Faulted: the step brings a fault.
            LeftError: `leave` was called.
        """
        try:
            values = self._cut_short() if self._woken.is_set() else self._played(step)
        except BaseException:
            self._end()
            raise
        if values["finish_reason"]:
            self._request.outcome = self._request.outcome or "answered"
            self._end()
        package, self._package = self._package, {}
        return values | package

    def _cut_short(self) -> Values:
        if self._left:
            raise LeftError
        return self._performance.cancelled()

    def _played(self, step: Step) -> Values:
        if step.fault is not None:
            # Behind any other fault the server may still be at work: a client sends a stop.
            if step.fault.kind == "error":
                self._request.outcome = self._request.outcome or "failed"
            raise Faulted(step.fault)
        return step.values

    def _end(self) -> None:
        self._over = True
        self._script._end(self._request)


class Player(_Playing):
    """The responses, each when it is due, for threads: one reads, any other may call `leave`.

    Reading raises what `_come` raises.
    """

    def __init__(self, script: Scripted, request: RecordedRequest, reply: ScriptedReply) -> None:
        self._wake = threading.Event()
        super().__init__(script, request, reply, self._wake)

    def __iter__(self) -> Player:
        return self

    def __next__(self) -> Values:
        step = self._next()
        if step is None:
            raise StopIteration
        self._wake.wait(None if step.delay_s == math.inf else step.delay_s)
        return self._come(step)


class AsyncPlayer(_Playing):
    """`Player` for asyncio."""

    def __init__(self, script: Scripted, request: RecordedRequest, reply: ScriptedReply) -> None:
        self._wake = asyncio.Event()
        super().__init__(script, request, reply, self._wake)

    def __aiter__(self) -> AsyncPlayer:
        return self

    async def __anext__(self) -> Values:
        step = self._next()
        if step is None:
            raise StopAsyncIteration
        if step.delay_s == 0:
            await asyncio.sleep(0)  # a reply without delays must not keep the loop to itself
        else:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), None if step.delay_s == math.inf else step.delay_s)
        return self._come(step)
