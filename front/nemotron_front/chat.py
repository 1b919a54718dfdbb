"""OpenAI's chat completions: what is asked, and how answers are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal, cast

import msgspec

from nemotron_client import (
    ContentDelta,
    Event,
    LogprobsDelta,
    Options,
    ReasoningDelta,
    Reply,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from nemotron_front import fields
from nemotron_front.answering import DONE, KEEP_ALIVE, Api, event_of
from nemotron_front.ask import Ask
from nemotron_front.errors import ApiError, invalid
from nemotron_front.formats import read_format
from nemotron_front.messages import read_messages
from nemotron_front.thinking import settle
from nemotron_front.tools import read_tools

_FINISH_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
OPEN, CLOSE = "<think>\n", "\n</think>\n\n"
"""What stands around the thinking where it is within the answer."""
# What Python's splitlines, and with it some readers of server-sent events, takes for the end of a line.
_LINE_ENDS = {"\x85".encode(): b"\\u0085", "\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def read_chat(body: dict[str, Any]) -> Ask:
    """What the body of a chat completion asks for.

    Args:
        body: Its model is resolved.

    Raises:
        ApiError: it can never be answered.
    """
    given = fields.CHAT.read(body)
    if "messages" not in given:
        raise invalid("messages", "messages: nothing was given, expected a list with at least one message")
    messages = read_messages(given["messages"])
    options, names = fields.CHAT.options(given)
    if (found := read_format(given)) is not None:
        names["response_format"], options["response_format"] = found
    if _has_prefix(given["messages"]):
        options["continue_final_message"] = True
        names["continue_final_message"] = f"messages[{len(messages) - 1}].prefix"
    if given.get("add_generation_prompt") is False and not options.get("continue_final_message"):
        message = (
            "add_generation_prompt: an answer has to be begun, unless continue_final_message is true; leave it out"
        )
        raise invalid("add_generation_prompt", message, "unsupported_parameter")
    options |= read_tools(given)
    if given.get("logprobs"):
        options["return_log_probs"], names["return_log_probs"] = True, "logprobs"
    elif given.get("top_logprobs") and not options.get("return_log_probs"):
        raise invalid("top_logprobs", "top_logprobs: it goes with logprobs; send logprobs true with it")
    return read_ask(given, options, names, messages=messages)


def _has_prefix(messages: Sequence[Any]) -> bool:
    """Whether the last message is marked as the beginning of the answer, as DeepSeek's and Mistral's clients do."""
    last = messages[-1]
    return last.get("role") == "assistant" and last.get("prefix") is True


def read_ask(given: Mapping[str, Any], options: dict[str, Any], names: dict[str, str], **prompt: Any) -> Ask:
    """What chat completions and completions have in common.

    Args:
        given: What `Fields.read` returns.
        options: The server's, to which is added.
        names: Which field each of them came from, to which is added.
        prompt: What is asked: `messages` or `prompts` of `Ask`.

    Raises:
        ApiError: fields that contradict each other.
    """
    settle(options, names)
    for name in ("ignore_eos", "nvext.ignore_eos"):
        if given.get(name):
            if "max_tokens" not in options:
                raise invalid(name, f"{name}: it writes as many tokens as max_tokens says; send max_tokens with it")
            options["min_tokens"], names["min_tokens"] = options["max_tokens"], name
    stream = given.get("stream", False)
    usage, continuous = (
        given.get(f"stream_options.{name}", False) for name in ("include_usage", "continuous_usage_stats")
    )
    if not stream and any(name.startswith("stream_options.") for name in given):
        raise invalid("stream_options", "stream_options: they go with a stream; send stream true with them")
    hidden = given.get("include_reasoning") is False or given.get("reasoning.exclude", False)
    if hidden and options.get("return_log_probs"):
        name = "reasoning.exclude" if given.get("include_reasoning") is not False else "include_reasoning"
        message = f"{name}: log probabilities are those of all tokens, thinking included; leave out this or them"
        raise invalid(name, message, "unsupported_parameter")
    thinking: Literal["hidden", "apart", "within"] = (
        "hidden" if hidden else "apart" if given.get("separate_reasoning", True) else "within"
    )
    return Ask(
        model=given["model"],
        options=cast(Options, options),
        n=given.get("n", 1),
        stream=stream,
        include_usage=usage,
        continuous_usage=continuous,
        thinking=thinking,
        first_call_only=not given.get("parallel_tool_calls", True),
        names={option: name for option, name in names.items() if option != name},
        **prompt,
    )


class ChatShape:
    """Writes the answer to one request.

    What does not change from chunk to chunk is written once: a chunk costs the JSON of its text.
    """

    keep_alive = KEEP_ALIVE

    def __init__(self, ask: Ask, request_id: str) -> None:
        self._ask = ask
        self._choices = [_Choice() for _ in range(ask.choices)]
        self._head = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": ask.model}
        self._before = [self._before_delta(choice, "") for choice in range(ask.choices)]
        self._no_usage = b',"usage":null}' if ask.include_usage else b"}"
        self._reasoning = [b'"%b":' % name.encode() for name in ask.reasoning_names]

    def begin(self, choice: int, usage: Usage | None, package: str) -> bytes:  # noqa: ARG002 - chunks with text have them
        """What comes before the first event of a choice."""
        self._before[choice] = self._before_delta(choice, package)
        return self._chunk(choice, b'{"role":"assistant","content":""}')

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:
        """What an event becomes."""
        state = self._choices[choice]
        state.usage = usage
        match event:
            case ContentDelta(text):
                return self._chunk(choice, b'{"content":%b}' % as_line(state.closing() + text))
            case ReasoningDelta(text):
                return self._thought(choice, text)
            case ToolCallDelta(call):
                return self._called(choice, call)
            case LogprobsDelta(entries):
                state.logprobs += entries
        return b""

    def end(self, choice: int, reply: Reply) -> bytes:
        """What comes after the last event of a choice."""
        self._choices[choice].usage = reply.usage
        more = as_line(finish_of(reply))[1:-1]  # its finish_reason comes in place of null
        return self._chunk(choice, b"{}", more)

    def done(self, replies: Sequence[Reply]) -> bytes:
        """What comes when all choices have ended."""
        if not self._ask.include_usage:
            return DONE
        usage = usage_json([reply.usage for reply in replies], self._ask.n)
        head = {**self._head, "object": "chat.completion.chunk", **fingerprint_of(replies)}
        return event_of(as_line({**head, "choices": [], "usage": usage})) + DONE

    def failed(self, error: ApiError) -> bytes:
        """What comes in place of the rest."""
        return event_of(error.json()) + DONE

    def whole(self, replies: Sequence[Reply], events: Sequence[Sequence[Event]]) -> bytes:  # noqa: ARG002 - no order
        """The answer that is not streamed."""
        choices = [
            {"index": choice, "message": self._message(reply), "logprobs": self._logprobs(reply), **finish_of(reply)}
            for choice, reply in enumerate(replies)
        ]
        usage = usage_json([reply.usage for reply in replies], self._ask.n)
        head = {**self._head, "object": "chat.completion", **fingerprint_of(replies)}
        return as_line({**head, "choices": choices, "usage": usage})

    def _before_delta(self, choice: int, package: str) -> bytes:
        head = as_line({**self._head, "object": "chat.completion.chunk", **fingerprint(package)})[:-1]
        return b'%b,"choices":[{"index":%d,"delta":' % (head, choice)

    def _chunk(self, choice: int, delta: bytes, finish: bytes = b'"finish_reason":null') -> bytes:
        state, usage = self._choices[choice], self._no_usage
        if state.logprobs:
            delta += b',"logprobs":%b' % as_line({"content": state.logprobs, "refusal": None})
            state.logprobs = []
        if self._ask.continuous_usage and any(counts := [one.usage for one in self._choices]):
            usage = b',"usage":%b}' % as_line(usage_json(counts, self._ask.n))
        return event_of(b"%b%b,%b}]%b" % (self._before[choice], delta, finish, usage))

    def _thought(self, choice: int, text: str) -> bytes:
        if self._ask.thinking == "hidden":
            return b""
        if self._ask.thinking == "within":
            return self._chunk(choice, b'{"content":%b}' % as_line(self._choices[choice].opening() + text))
        encoded = as_line(text)
        return self._chunk(choice, b"{%b}" % b",".join([name + encoded for name in self._reasoning]))

    def _called(self, choice: int, call: ToolCall) -> bytes:
        state = self._choices[choice]
        index, state.calls = state.calls, state.calls + 1
        named = call.as_message_part()
        named["function"]["arguments"] = ""
        rest = {"index": index, "function": {"arguments": call.arguments}}
        closed = self._chunk(choice, b'{"content":%b}' % as_line(text)) if (text := state.closing()) else b""
        return closed + b"".join(
            self._chunk(choice, as_line({"tool_calls": [part]})) for part in ({"index": index, **named}, rest)
        )

    def _message(self, reply: Reply) -> dict[str, Any]:
        message = reply.as_message()
        if text := reply.reasoning_content:
            if self._ask.thinking == "apart":
                message |= dict.fromkeys(self._ask.reasoning_names, text)
            elif self._ask.thinking == "within":
                closing = CLOSE if reply.content or reply.tool_calls else ""
                message["content"] = f"{OPEN}{text}{closing}{reply.content}"
        return message

    def _logprobs(self, reply: Reply) -> dict[str, Any] | None:
        return {"content": reply.logprobs, "refusal": None} if self._ask.options.get("return_log_probs") else None


CHAT = Api("/v1/chat/completions", read_chat, ChatShape, fields.CHAT)


class _Choice:
    """What was written of a choice so far.

    Attributes:
        calls: How many tool calls.
        logprobs: Entries that wait for the chunk they belong to.
        usage: The counts of what has come.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.logprobs: list[Mapping[str, Any]] = []
        self.usage: Usage | None = None
        self._thinks = False

    def opening(self) -> str:
        """The tag before more thinking, within the content."""
        opened, self._thinks = self._thinks, True
        return "" if opened else OPEN

    def closing(self) -> str:
        """The tag behind the thinking within the content, before what follows it."""
        open_, self._thinks = self._thinks, False
        return CLOSE if open_ else ""


def as_line(value: Any) -> bytes:
    """JSON on what everybody takes for one line."""
    encoded = msgspec.json.encode(value)
    for character, escape in _LINE_ENDS.items():
        if character in encoded:
            encoded = encoded.replace(character, escape)
    return encoded


def finish_of(reply: Reply) -> dict[str, Any]:
    """Why a choice has ended: one of OpenAI's words, and ours where it says more."""
    reason = reply.finish_reason
    finish: dict[str, Any] = {"finish_reason": _FINISH_REASONS.get(reason, "length")}
    if reason not in _FINISH_REASONS:
        finish["stop_reason"] = reason
    if reply.thinking_budget_reached:
        finish["thinking_budget_reached"] = True
    return finish


def fingerprint(*packages: str) -> dict[str, str]:
    """What has answered, in OpenAI's place for it: a package, or several where the choices are of several replicas."""
    names = ", ".join(dict.fromkeys(filter(None, packages)))
    return {"system_fingerprint": names} if names else {}


def fingerprint_of(replies: Sequence[Reply]) -> dict[str, str]:
    """The same of whole replies."""
    return fingerprint(*(reply.package for reply in replies))


def usage_json(counts: Sequence[Usage | None], n: int = 1) -> dict[str, Any]:
    """The token counts of all choices.

    Args:
        counts: Of each choice; None where they are not known yet.
        n: Choices of the same prompt, which follow each other; the prompt, which they share, counts once.
    """
    known = [one for one in counts if one is not None]
    groups = (filter(None, counts[first : first + n]) for first in range(0, len(counts), n))
    prompts = [one for group in groups for one in islice(group, 1)]
    prompt, output = sum(one.prompt_tokens for one in prompts), sum(one.output_tokens for one in known)
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "completion_tokens_details": {"reasoning_tokens": sum(one.reasoning_tokens for one in known)},
    }
    cached = [one.cached_tokens for one in prompts if one.cached_tokens is not None]
    if cached:
        usage["prompt_tokens_details"] = {"cached_tokens": sum(cached)}
    return usage
