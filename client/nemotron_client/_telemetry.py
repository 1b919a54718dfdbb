"""A span of OpenTelemetry for each request, where the program uses OpenTelemetry.

Nothing is imported for it: a program that wants traces has imported `opentelemetry.trace` itself, and in any other a
request costs one look into `sys.modules`. Names follow OpenTelemetry's conventions for generative AI. A span has ids,
counts, settings and timings, never prompts, answers or error messages.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from nemotron_client._transports import Call
from nemotron_client._types import Reply

_PROVIDER = "nemotron_triton"
_SETTINGS = ("frequency_penalty", "max_tokens", "presence_penalty", "seed", "temperature", "top_k", "top_p")


class Span:
    """The span of one request, through all its tries. Does nothing in a program without OpenTelemetry."""

    def __init__(self) -> None:
        self._span: Any = None

    def headers(self, call: Call, given: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of a try, with the trace's own. The first try begins the span."""
        if sys.modules.get("opentelemetry.trace") is None:
            return given
        from opentelemetry import propagate, trace

        if self._span is None:
            self._span = _begin(trace, call)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._span))
        return {**{name.lower(): value for name, value in carrier.items()}, **given}

    def end(self, url: str, reply: Reply | None, error: Exception | None) -> None:
        """The request is over: with a reply, with an error, or with neither because the program has stopped it."""
        if self._span is None or not self._span.is_recording():
            return
        from opentelemetry import trace

        server = urlsplit(url)
        self._span.set_attribute("server.address", server.hostname or url)
        if server.port:
            self._span.set_attribute("server.port", server.port)
        if reply is not None:
            self._span.set_attributes(_outcome(reply))
        elif error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(trace.StatusCode.ERROR)
        else:
            self._span.set_attribute("gen_ai.response.finish_reasons", ("cancelled",))
        self._span.end()


def _begin(trace: Any, call: Call) -> Any:
    operation = "text_completion" if "raw_prompt" in call.inputs else "chat"
    tracer = trace.get_tracer("nemotron_client")
    span = tracer.start_span(f"{operation} nemotron", kind=trace.SpanKind.CLIENT)
    if span.is_recording():
        span.set_attributes(_attributes(operation, call))
    return span


def _attributes(operation: str, call: Call) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDER,
        "gen_ai.response.id": call.request_id,
    }
    for name in _SETTINGS:
        if name in call.inputs:
            attributes[f"gen_ai.request.{name}"] = call.inputs[name]
    return attributes


def _outcome(reply: Reply) -> dict[str, Any]:
    usage, first = reply.usage, reply.timings.ttft_s
    attributes: dict[str, Any] = {
        "gen_ai.response.finish_reasons": (reply.finish_reason,),
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    if usage.cached_tokens is not None:
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if first is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = first
    return attributes
