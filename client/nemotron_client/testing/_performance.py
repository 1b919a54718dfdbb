"""A reply as responses, one after the other, and when each is due. Does no I/O."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nemotron_client._contract import NOTHING_NEW, STATES
from nemotron_client.testing._replies import Fault, ScriptedReply
from nemotron_client.testing._requests import RecordedRequest

Values = dict[str, Any]
_UNKNOWN = -1


class Faulted(Exception):
    """It is time for what goes wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True)
class Step:
    """What comes next.

    Attributes:
        delay_s: After so long; infinite for never.
        values: The outputs of a response.
        fault: In place of a response.
    """

    delay_s: float
    values: Values | None = None
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
        self._size = len(self._reasoning) + len(self._content) + len(reply.tool_calls)
        self._done = 0

    def steps(self) -> Iterator[Step]:
        """All that comes. A request that asks for no stream gets it in one response."""
        return self._streamed() if self._request.inputs.get("stream") else self._at_once()

    def cancelled(self) -> Values:
        """The last response, when the request is stopped now."""
        return self._last("cancelled")

    def _streamed(self) -> Iterator[Step]:
        reply = self._reply
        delay = reply.ttft_s
        for piece in self._pieces():
            self._done += 1
            yield Step(delay, self._counts() | {piece.field: piece.text, "text_output": piece.raw})
            delay = reply.token_s
        yield self._end(delay if reply.fault or not self._done else 0.0)

    def _at_once(self) -> Iterator[Step]:
        reply = self._reply
        if reply.endless:
            yield Step(math.inf)
            return
        self._done = self._size
        end = self._end(reply.ttft_s + reply.token_s * max(0, self._size - 1))
        if end.values is not None:
            pieces = list(self._pieces())
            for field in ("reasoning_content", "content"):
                end.values[field] = "".join(piece.text for piece in pieces if piece.field == field)
            end.values["tool_calls"] = self._calls_json() if reply.tool_calls else ""
            end.values["text_output"] = "".join(piece.raw for piece in pieces)
        yield end

    def _end(self, delay: float) -> Step:
        fault = self._reply.fault
        if fault is not None:
            return Step(math.inf) if fault.kind == "stall" else Step(delay, fault=fault)
        return Step(delay, self._last(self._reply.ends_with()))

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
            "num_input_tokens": self._request.num_words,
            "num_output_tokens": self._done,
            "num_reasoning_tokens": thought,
            "num_cached_tokens": _UNKNOWN,
        }
        if usage is not None:
            counts["num_input_tokens"] = usage.prompt_tokens
            counts["num_output_tokens"] = _share(usage.output_tokens, self._done, self._size)
            counts["num_reasoning_tokens"] = _share(usage.reasoning_tokens, thought, len(self._reasoning))
            counts["num_cached_tokens"] = _UNKNOWN if usage.cached_tokens is None else usage.cached_tokens
        return NOTHING_NEW | counts

    def _last(self, finish_reason: str) -> Values:
        reply = self._reply
        logprobs = json.dumps(list(reply.logprobs), ensure_ascii=False) if reply.logprobs else ""
        error = reply.tool_call_error if "tools" in self._request.inputs else None
        occasional = {"tool_call_error": json.dumps(vars(error), ensure_ascii=False)} if error else {}
        states = {name: getattr(reply, name, NOTHING_NEW[name]) for name in STATES} | {"finish_reason": finish_reason}
        asked = {"logprobs": logprobs} if self._request.inputs.get("return_log_probs") else {}
        return self._counts() | occasional | states | asked


def _share(total: int, done: int, size: int) -> int:
    """The running total after `done` of `size` pieces; what comes after them has all of it."""
    return total if done >= size else math.ceil(total * done / size)
