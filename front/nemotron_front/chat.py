"""OpenAI's chat completions: what is asked, and how answers are written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from nemotron_client import ContentDelta, Event, Options, ReasoningDelta, Reply, ToolCallDelta, Usage
from nemotron_front.answering import DONE, KEEP_ALIVE, Api, event_of
from nemotron_front.ask import Ask
from nemotron_front.errors import ApiError, invalid

_json = msgspec.json.encode
_FINISH_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


def read_chat(body: dict[str, Any]) -> Ask:
    """What the body of a chat completion asks for.

    Args:
        body: Without fields that are null; its model is resolved.

    Raises:
        ApiError: it can never be answered.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "messages: expected a list with at least one message")
    options: Options = {}
    if (limit := body.get("max_completion_tokens", body.get("max_tokens"))) is not None:
        options["max_tokens"] = limit
    if (temperature := body.get("temperature")) is not None:
        options["temperature"] = temperature
    if (switch := body.get("chat_template_kwargs", {}).get("enable_thinking")) is not None:
        options["thinking"] = switch
    if (tools := body.get("tools")) is not None:
        options["tools"] = tools
    stream_options = body.get("stream_options", {})
    return Ask(
        model=body["model"],
        messages=messages,
        options=options,
        n=body.get("n", 1),
        stream=body.get("stream", False),
        include_usage=stream_options.get("include_usage", False),
        continuous_usage=stream_options.get("continuous_usage_stats", False),
    )


class ChatShape:
    """Writes the answer to one request.

    What does not change from chunk to chunk is written once: a chunk costs the JSON of its text.
    """

    keep_alive = KEEP_ALIVE

    def __init__(self, ask: Ask, request_id: str) -> None:
        self._ask = ask
        self._calls = [0] * ask.n
        self._head = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": ask.model}
        self._no_usage = b',"usage":null}\n\n' if ask.include_usage else b"}\n\n"
        head = _json({**self._head, "object": "chat.completion.chunk"})[:-1]
        self._before = [b'data: %b,"choices":[{"index":%d,"delta":' % (head, choice) for choice in range(ask.n)]
        self._after = b',"finish_reason":null}]'
        self._reasoning = b'{"reasoning_content":%b,"reasoning":%b}'

    def begin(self, choice: int) -> bytes:
        """What comes before the first event of a choice."""
        return self._chunk(choice, b'{"role":"assistant","content":""}', None)

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:
        """What an event becomes."""
        match event:
            case ContentDelta(text):
                return self._chunk(choice, b'{"content":%b}' % _json(text), usage)
            case ReasoningDelta(text):
                encoded = _json(text)
                return self._chunk(choice, self._reasoning % (encoded, encoded), usage)
            case ToolCallDelta(call):
                index, self._calls[choice] = self._calls[choice], self._calls[choice] + 1
                first = call.as_message_part()
                arguments = first["function"].pop("arguments")
                first["function"]["arguments"] = ""
                rest = {"index": index, "function": {"arguments": arguments}}
                named = _json({"tool_calls": [{"index": index, **first}]})
                return self._chunk(choice, named, usage) + self._chunk(choice, _json({"tool_calls": [rest]}), usage)
        return b""

    def end(self, choice: int, reply: Reply) -> bytes:
        """What comes after the last event of a choice."""
        chunk: dict[str, Any] = {"index": choice, "delta": {}, **_finish(reply)}
        return self._event(choices=[chunk], **({"usage": None} if self._ask.include_usage else {}))

    def done(self, replies: Sequence[Reply]) -> bytes:
        """What comes when all choices have ended."""
        usage = (
            self._event(choices=[], usage=_counts([reply.usage for reply in replies]))
            if self._ask.include_usage
            else b""
        )
        return usage + DONE

    def failed(self, error: ApiError) -> bytes:
        """What comes in place of the rest."""
        return event_of(error.json()) + DONE

    def whole(self, replies: Sequence[Reply]) -> bytes:
        """The answer that is not streamed."""
        choices = [
            {"index": choice, "message": _message(reply), "logprobs": None, **_finish(reply)}
            for choice, reply in enumerate(replies)
        ]
        return _json(
            {
                **self._head,
                "object": "chat.completion",
                "choices": choices,
                "usage": _counts([reply.usage for reply in replies]),
            }
        )

    def _chunk(self, choice: int, delta: bytes, usage: Usage | None) -> bytes:
        if usage is None or not self._ask.continuous_usage:
            return self._before[choice] + delta + self._after + self._no_usage
        return self._before[choice] + delta + self._after + b',"usage":%b}\n\n' % _json(_counts([usage]))

    def _event(self, **more: Any) -> bytes:
        return event_of(_json({**self._head, "object": "chat.completion.chunk", **more}))


CHAT = Api("/v1/chat/completions", read_chat, ChatShape)


def _message(reply: Reply) -> dict[str, Any]:
    message = reply.as_message()
    if reply.reasoning_content:
        message |= {"reasoning_content": reply.reasoning_content, "reasoning": reply.reasoning_content}
    return message


def _finish(reply: Reply) -> dict[str, Any]:
    """Why a choice has ended: one of OpenAI's words, and ours where it says more."""
    reason = reply.finish_reason
    finish: dict[str, Any] = {"finish_reason": _FINISH_REASONS.get(reason, "length")}
    if reason not in _FINISH_REASONS:
        finish["stop_reason"] = reason
    if reply.thinking_budget_reached:
        finish["thinking_budget_reached"] = True
    return finish


def _counts(counts: Sequence[Usage]) -> dict[str, Any]:
    """The token counts of all choices; the prompt, which they share, counts once."""
    prompt, output = counts[0].prompt_tokens, sum(one.output_tokens for one in counts)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "completion_tokens_details": {"reasoning_tokens": sum(one.reasoning_tokens for one in counts)},
    }
    if (cached := counts[0].cached_tokens) is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return usage
