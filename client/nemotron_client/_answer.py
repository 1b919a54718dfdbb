"""Reads the responses to a call: their events as they come, and the whole reply at the end. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nemotron_client._contract import STATES
from nemotron_client._types import (
    ContentDelta,
    Event,
    LogprobsDelta,
    ReasoningDelta,
    Reply,
    Timings,
    ToolCall,
    ToolCallDelta,
    ToolCallError,
    ToolCallErrorDelta,
    Usage,
)


class AnswerReader:
    """One answer in the making.

    Attributes:
        started: Whether a response has come. From then on the call is never repeated.
        package: The package that answers; empty before the first response, and where the server does not say.
        reply: The whole answer, once its last response has come.
        usage: The token counts of what has come; None before the first response.
        arrivals: For each response with new tokens: when it came, on the clock of `events_of`, and the output tokens so
            far.
    """

    def __init__(self, request_id: str, begin_s: float) -> None:
        """Begin to read.

        Args:
            request_id: The name of the request, for the reply.
            begin_s: When the call was made, on the clock of `events_of`.
        """
        self.started = False
        self.package = ""
        self.reply: Reply | None = None
        self.arrivals: list[tuple[float, int]] = []
        self._values: Mapping[str, Any] | None = None
        self._request_id = request_id
        self._begin = begin_s
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._tool_call_error: ToolCallError | None = None
        self._logprobs: list[Mapping[str, Any]] = []
        self._first_answer: float | None = None

    @property
    def usage(self) -> Usage | None:
        """See the class."""
        return None if self._values is None else _usage(self._values)

    @property
    def thinking_budget_reached(self) -> bool:
        """Whether what has come says so, see `Reply`."""
        return self._values is not None and bool(self._values["thinking_budget_reached"])

    def events_of(self, values: Mapping[str, Any], now_s: float) -> list[Event]:
        """The events of one response: values by output name, texts as deltas and counts as running totals."""
        events: list[Event] = []
        self.started = True
        self._values = values
        self.package = values.get("package") or self.package
        if logprobs := values.get("logprobs"):
            entries = tuple(json.loads(logprobs))
            self._logprobs += entries
            events.append(LogprobsDelta(entries))
        if text := values["reasoning_content"]:
            self._reasoning.append(text)
            events.append(ReasoningDelta(text))
        if text := values["content"]:
            self._content.append(text)
            events.append(ContentDelta(text))
        if calls := values["tool_calls"]:
            for call in json.loads(calls):
                self._tool_calls.append(ToolCall(call["id"], **call["function"]))
                events.append(ToolCallDelta(self._tool_calls[-1]))
        if error := values.get("tool_call_error"):
            self._tool_call_error = ToolCallError(**json.loads(error))
            events.append(ToolCallErrorDelta(self._tool_call_error))
        tokens = values["num_output_tokens"]
        if tokens > (self.arrivals[-1][1] if self.arrivals else 0):
            self.arrivals.append((now_s, tokens))
        if self._first_answer is None and (self._content or self._tool_calls):
            self._first_answer = now_s
        if values["finish_reason"]:
            self.reply = self._whole(values, now_s)
        return events

    def _whole(self, values: Mapping[str, Any], now: float) -> Reply:
        return Reply(
            content="".join(self._content),
            reasoning_content="".join(self._reasoning),
            tool_calls=tuple(self._tool_calls),
            **{name: values[name] for name in STATES},
            usage=_usage(values),
            timings=self._timings(values["num_output_tokens"], now),
            request_id=self._request_id,
            logprobs=tuple(self._logprobs),
            tool_call_error=self._tool_call_error,
            package=self.package,
        )

    def _timings(self, tokens: int, now: float) -> Timings:
        first, first_tokens = self.arrivals[0] if self.arrivals else (None, 0)
        later = tokens - first_tokens
        return Timings(
            total_s=now - self._begin,
            ttft_s=None if first is None else first - self._begin,
            first_answer_s=None if self._first_answer is None else self._first_answer - self._begin,
            mean_itl_s=None if first is None or later < 1 else (now - first) / later,
        )


def _usage(values: Mapping[str, Any]) -> Usage:
    cached = values["num_cached_tokens"]
    return Usage(
        values["num_input_tokens"],
        values["num_output_tokens"],
        values["num_reasoning_tokens"],
        cached if cached >= 0 else None,
    )
