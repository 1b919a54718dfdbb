"""What to say instead of the words of openai-python, for the errors and for docs/client/migrate-from-openai.md."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

_Method = TypeVar("_Method", bound=Callable[..., object])
_NO_USE = "leave it out: the server has no use for it"

OPTIONS = {
    "stop": "use stop_words",
    "stream": "use client.stream_chat",
    "stream_options": "leave it out: stream.get_final().usage has the counts",
    "model": "leave it out: a server has one model",
    "max_completion_tokens": "use max_tokens, which counts all output, thinking included",
    "max_output_tokens": "use max_tokens, which counts all output, thinking included",
    "reasoning_effort": "use thinking=True or thinking=False, and max_thinking_tokens",
    "reasoning": "use thinking=True or thinking=False, and max_thinking_tokens",
    "chat_template_kwargs": "use thinking=True or thinking=False",
    "logprobs": "use return_log_probs=True",
    "n": "send the request several times: client.batch does it side by side",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "parallel_tool_calls": "leave it out: reply.tool_calls holds every call that the model wants",
    "timeout": "use timeout_ms for the server's deadline, or client.with_options(timeouts=…) for what the client waits",
    "service_tier": "use priority",
    "extra_headers": "use client.with_options(headers=…)",
    "extra_body": "give its fields as options, like thinking and top_k",
    "extra_query": "leave it out: there is no query",
    "instructions": "use a message with the role system",
    "audio": "leave it out: the model reads and writes text",
    "modalities": "leave it out: the model reads and writes text",
    "user": _NO_USE,
    "metadata": _NO_USE,
    "store": _NO_USE,
    "safety_identifier": _NO_USE,
    "prompt_cache_key": _NO_USE,
}
"""Options of openai-python that are none here → what to do. The page has the same table, which a test compares."""


def hint(name: str, known: Iterable[str]) -> str:
    """What to do about an option that does not exist.

    Args:
        name: As it was given.
        known: The options that exist.
    """
    if name in OPTIONS:
        return OPTIONS[name]
    options = sorted(known)
    close = difflib.get_close_matches(name, options, 1)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(options)}"


class _Completions:
    """Stands where openai-python has `chat.completions`, and says what to call here."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(
            f"client.chat.completions.{name} is OpenAI's; here the method is chat itself: client.chat(messages, …), "
            "or client.stream_chat(messages, …) for a stream"
        )


def stands_for_completions(method: _Method) -> _Method:
    """A method `chat` whose `completions` explain themselves."""
    method.completions = _Completions()  # type: ignore[attr-defined]
    return method
