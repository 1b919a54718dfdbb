"""From the caller's options to a `Call`: what is wrong with them, and the tensors they become."""

from __future__ import annotations

import difflib
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from nemotron_client._contract import (
    ALWAYS_READ,
    DTYPES,
    ENSEMBLE,
    GENERATING_MODEL,
    OCCASIONAL_OUTPUTS,
    PREPROCESSING_MODEL,
    READ_OUTPUTS,
    Options,
)
from nemotron_client._errors import NemotronError
from nemotron_client._formats import format_of
from nemotron_client._tools import tool_choice_json, tools_json
from nemotron_client._transports import Call
from nemotron_client._types import Message, messages_json

READY_ID = "nemotron-client-is-ready"
"""The id in `ready_call`. It is always the same, so that servers have one to remember and not thousands."""

LIMITS = {"INT32": (-(2**31), 2**31 - 1), "UINT64": (0, 2**64 - 1)}

_PYTHON_TYPES: dict[str, tuple[Any, ...]] = {
    "BOOL": (bool,),
    "BYTES": (str,),
    "FP32": (int, float),
    "INT32": (int,),
    "UINT64": (int,),
}
_JSON_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "tools": tools_json,
    "tool_choice": tool_choice_json,
    "response_format": lambda given: format_of(given).json,
    "logit_bias": lambda given: given,
}

_UNKNOWN_OUTPUT = re.compile(r"unexpected inference output '(\w+)'")  # Triton's words

_NO_USE = "leave it out: the server has no use for it"

OPENAI_OPTIONS = {
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
_Method = TypeVar("_Method", bound=Callable[..., object])


def chat_call(messages: Iterable[Message], options: Mapping[str, Any]) -> Call:
    """The call that answers a conversation.

    Answers always come as streams: only so can a client see that a server is at work, measure it and stop it.

    Raises:
        TypeError: an option that does not exist, or of another type.
        ValueError: a number out of its type's range, or text that is not Unicode.
    """
    return _generating({"messages": _json("messages", messages_json(messages))}, options)


def generate_call(prompt: str, options: Mapping[str, Any]) -> Call:
    """The call that continues a complete prompt. Raises what `chat_call` raises."""
    return _generating({"text_input": prompt, "raw_prompt": True}, options)


def without_unknown_output(call: Call, error: NemotronError) -> Call | None:
    """The same call for a server that has refused it for an output that came with a later version.

    None for any other error, and for an output without which no answer can be read.
    """
    found = _UNKNOWN_OUTPUT.search(str(error))
    if found is None or found[1] not in OCCASIONAL_OUTPUTS.intersection(call.outputs):
        return None
    return replace(call, outputs=tuple(name for name in call.outputs if name != found[1]))


def tokenize_call(messages: Iterable[Message] | str, options: Mapping[str, Any], *, text: bool) -> Call:
    """The call that asks which tokens the prompt of a conversation, or a complete prompt, is.

    Args:
        messages: The conversation; a text is a complete prompt.
        options: What would be sent with it.
        text: Whether the prompt's text is wanted as well.

    Raises what `chat_call` raises.
    """
    call = generate_call(messages, options) if isinstance(messages, str) else chat_call(messages, options)
    inputs = {name: value for name, value in call.inputs.items() if name != "stream"}
    outputs = ("input_ids", "prompt_text") if text else ("input_ids",)
    return Call(PREPROCESSING_MODEL, uuid.uuid4().hex, inputs, outputs)


def token_ids_of(answer: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids in the answer to that; over HTTP a list of one is no list."""
    ids = answer["input_ids"]
    return tuple(ids) if isinstance(ids, list) else (ids,)


def detokenize_call(token_ids: Sequence[int]) -> Call:
    """The call that asks for the text of tokens.

    Raises:
        TypeError: something else than whole numbers.
        ValueError: no ids, or numbers out of their type's range.
    """
    ids = list(token_ids)
    if not ids:
        raise ValueError("token_ids: none was given, expected at least one")
    _check("input_ids", ids)
    return Call(PREPROCESSING_MODEL, uuid.uuid4().hex, {"input_ids": ids}, ("prompt_text",))


def cancel_call(request_id: str, headers: Mapping[str, str]) -> Call:
    """TensorRT-LLM's own stop request: an ensemble does not pass the end of a connection on to its steps."""
    return Call(GENERATING_MODEL, request_id, {"stop": True}, ("finish_reason",), headers)


def end_thinking_call(request_id: str, headers: Mapping[str, str]) -> Call:
    """The call that has a request answer now."""
    return Call(GENERATING_MODEL, request_id, {"end_thinking": True}, ("thinking_ends",), headers)


def ends_thinking(answer: Mapping[str, Any]) -> bool:
    """What the outputs of the answer to that say."""
    return bool(answer.get("thinking_ends", False))


def ready_call(headers: Mapping[str, str]) -> Call:
    """The question whether a server takes requests, which Triton's own readiness does not tell while it drains.

    It is a stop for a request that nobody makes: a server that is shutting down refuses it.
    """
    return cancel_call(READY_ID, headers)


def unknown_option(name: str) -> str:
    """What is wrong with an option that does not exist, and what to do."""
    known = sorted(Options.__annotations__)
    close = difflib.get_close_matches(name, known, 1)
    hint = OPENAI_OPTIONS.get(name) or (f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}")
    return f"{name!r} is no option: {hint}"


def _generating(inputs: dict[str, Any], options: Mapping[str, Any]) -> Call:
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(unknown_option(min(unknown)))
    given = {name: value for name, value in options.items() if value is not None and value != []}
    request_id = given.pop("request_id", None) or uuid.uuid4().hex
    if not isinstance(request_id, str):
        raise TypeError(f"request_id: {type(request_id).__name__} was given, expected str")
    inputs["stream"] = True
    for name, value in given.items():
        inputs[name] = _json(name, _JSON_OPTIONS[name](value)) if name in _JSON_OPTIONS else value
    for name, value in inputs.items():
        _check(name, value)
    more = tuple(name for name, asked_with in READ_OUTPUTS.items() if inputs.get(asked_with))
    return Call(ENSEMBLE, request_id, inputs, ALWAYS_READ + more)


def _json(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError as error:
        raise TypeError(f"{name}: {error}, expected what JSON can say") from None


def _check(name: str, value: Any) -> None:
    dtype = DTYPES[name]
    accepted = _PYTHON_TYPES[dtype]
    values = value if isinstance(value, (list, tuple)) else (value,)
    for one in values:
        # A bool is an int to Python, but never what is meant here.
        if not isinstance(one, accepted) or (isinstance(one, bool) and bool not in accepted):
            expected = " or ".join(kind.__name__ for kind in accepted)
            raise TypeError(f"{name}: {type(one).__name__} was given, expected {expected}")
        if dtype == "BYTES":
            _check_unicode(name, one)
        elif dtype in LIMITS and not LIMITS[dtype][0] <= one <= LIMITS[dtype][1]:
            low, high = LIMITS[dtype]
            raise ValueError(f"{name}: {one} was given, expected {low} to {high}")


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"{name}: character {error.start} is half of a surrogate pair, expected Unicode text"
        raise ValueError(message) from None  # without the text itself


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
