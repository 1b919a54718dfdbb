"""What conversations and replies are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ReasoningDelta:
    """New text of the thinking."""

    text: str


@dataclass(frozen=True)
class ContentDelta:
    """New text of the answer."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called.

    Attributes:
        id: The name of the call, to be sent back with its result as `tool_call_id`.
        name: The function.
        arguments: A JSON object, as text.
    """

    id: str
    name: str
    arguments: str

    def as_message_part(self) -> dict[str, Any]:
        """The call in OpenAI's shape, for `tool_calls` of the assistant's message when the conversation goes on."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class ToolCallDelta:
    """A tool call that is complete."""

    call: ToolCall


@dataclass(frozen=True)
class ToolCallError:
    """A tool call that the server could not read, or of a tool that was not offered. Its text is in the content.

    Attributes:
        index: Its place among the calls of the answer, 0 for the first.
        reason: What is wrong with it, such as `there is no tool 'get_wether'`.
        text: The call as the model wrote it.
    """

    index: int
    reason: str
    text: str


@dataclass(frozen=True)
class ToolCallErrorDelta:
    """A tool call went wrong; its text has come as a `ContentDelta`. At most one in an answer, the first."""

    error: ToolCallError


@dataclass(frozen=True)
class LogprobsDelta:
    """Log probabilities of new tokens, with `return_log_probs`. They come before the texts that came with them.

    Those of a stream together are `reply.logprobs`. A token's text may come later than they do, or share an event.

    Attributes:
        entries: In OpenAI's shape, one a token.
    """

    entries: tuple[Mapping[str, Any], ...]


Event = ReasoningDelta | ContentDelta | ToolCallDelta | ToolCallErrorDelta | LogprobsDelta
"""What a stream brings, in this order: thinking, then the answer and tool calls; log probabilities all along."""


@dataclass(frozen=True)
class Usage:
    """Token counts.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        output_tokens: Tokens of all output: thinking, its closing tag, answer and tool calls.
        reasoning_tokens: Those of the output that are thinking.
        cached_tokens: Those of the prompt that the server had in its cache; None where it does not say.
    """

    prompt_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cached_tokens: int | None = None


@dataclass(frozen=True)
class Timings:
    """What the client saw, in seconds; None where there is nothing to measure.

    Attributes:
        total_s: Time from the call to the last response. Retries and what the program did between events are in it.
        ttft_s: Time from the call to the first response with a token.
        first_answer_s: Time from the call to the first text of the answer, or the first tool call.
        mean_itl_s: Mean time from token to token after the first response; several tokens may share a response.
    """

    total_s: float
    ttft_s: float | None = None
    first_answer_s: float | None = None
    mean_itl_s: float | None = None


@dataclass(frozen=True)
class Reply:
    """A whole answer.

    Attributes:
        content: The answer.
        reasoning_content: The thinking, without its tags.
        tool_calls: The functions that the model wants called.
        finish_reason: `stop`, `length`, `tool_calls`, `repetition`, `cancelled` or `timeout`.
        thinking_budget_reached: Whether `max_thinking_tokens` has ended the thinking.
        usage: Token counts.
        timings: What the client measured.
        request_id: The request, as the server's log knows it.
        logprobs: An entry for each output token in OpenAI's shape, with `return_log_probs`; else empty.
        parsed: The content as the object that `response_format` describes: of the type that was given, else what JSON
            is to Python; None where it describes no JSON, or was given as a dict and the answer was cut off.
        tool_call_error: The first tool call that could not be read, whose text is in the content; else None.
        package: The package that has answered, by its name: replicas may have different ones. Empty where the server
            does not say.
    """

    content: str
    reasoning_content: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    thinking_budget_reached: bool
    usage: Usage
    timings: Timings
    request_id: str
    logprobs: tuple[Mapping[str, Any], ...] = ()
    parsed: Any = None
    tool_call_error: ToolCallError | None = None
    package: str = ""

    def as_message(self) -> dict[str, Any]:
        """The answer as a message in OpenAI's shape, for the conversation to go on. The thinking is left out."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.as_message_part() for call in self.tool_calls]
        return message


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as the model reads it.

    Attributes:
        token_ids: Its tokens.
        text: The text of these, control tokens by their names.
    """

    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class ModelInfo:
    """The package that a server serves.

    Attributes:
        name: The model's name.
        package: The package's name, with what it was made for.
        engine: What generates: `tensorrt_llm`, `openvino` or `simulated`.
        device: What it runs on: `cpu`, or the GPU's name.
        precision: Format of the weights.
        chat_format: How conversations are written for the model.
        thinking: Whether a request that says nothing gets thinking.
        max_tokens: Output tokens of a request that says nothing.
        max_seq_len: Prompt and output tokens that a request may have.
        max_batch_size: Requests that generate at once.
        max_waiting: Requests that may wait behind them; the next one raises OverloadedError.
    """

    name: str
    package: str
    engine: str
    device: str
    precision: str
    chat_format: str
    thinking: bool
    max_tokens: int
    max_seq_len: int
    max_batch_size: int
    max_waiting: int

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> ModelInfo | None:
        """From the parameters of the server's model configuration; None if they do not hold all of it."""
        read: dict[str, Callable[[str], Any]] = {"bool": lambda text: text == "true", "int": int, "str": str}
        try:
            return cls(**{one.name: read[str(one.type)](parameters[one.name]) for one in fields(cls)})
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        url: Where it answered.
        name: `triton`.
        version: Triton's version.
        extensions: The parts of the protocol that it knows beyond the base.
        model: What it serves; None where the server does not say, for it is older or was not started by nemotron-serve.
    """

    url: str
    name: str
    version: str
    extensions: tuple[str, ...]
    model: ModelInfo | None = None

    @classmethod
    def of(cls, url: str, found: Mapping[str, Any]) -> ServerInfo:
        """From what a transport found."""
        model = ModelInfo.of(found.get("parameters", {}))
        return cls(url, found["name"], found["version"], tuple(found["extensions"]), model)


@dataclass(frozen=True)
class SystemMessage:
    """What the model is told about its task."""

    content: str


@dataclass(frozen=True)
class UserMessage:
    """What the user says."""

    content: str


@dataclass(frozen=True)
class AssistantMessage:
    """What the model has answered; of a reply, `reply.as_message()` says the same as a dict.

    Attributes:
        content: The answer, without the thinking: the model is not shown that of earlier turns.
        tool_calls: The functions that it wanted called.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class ToolMessage:
    """What a function has returned.

    Attributes:
        content: The result; JSON goes to the model as JSON.
        tool_call_id: The id of the call.
    """

    content: str
    tool_call_id: str


Message = Mapping[str, Any] | SystemMessage | UserMessage | AssistantMessage | ToolMessage
"""A dict in OpenAI's shape, `{"role": "user", "content": "…"}`, or one of the classes."""

_ROLES = ("system", "developer", "user", "assistant", "tool")
_CLASSES: dict[type, str] = {
    SystemMessage: "system",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
}


def messages_json(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's shape, in new dicts.

    Raises:
        TypeError: something else than messages, or a content that is no text.
        ValueError: a dict without a role, or with one that does not exist.
    """
    if isinstance(messages, (str, Mapping, *_CLASSES)) or not isinstance(messages, Iterable):
        raise TypeError(f"messages: {type(messages).__name__} was given, expected a list of messages")
    return [_message(f"messages[{number}]", message) for number, message in enumerate(messages)]


def _message(where: str, message: Any) -> dict[str, Any]:
    if role := _CLASSES.get(type(message)):
        given = {"role": role} | {name: value for name, value in vars(message).items() if value != ()}
    elif isinstance(message, Mapping):
        given = dict(message)
    else:
        expected = "a dict with role and content, or a message object"
        raise TypeError(f"{where}: {type(message).__name__} was given, expected {expected}")
    if given.get("role") not in _ROLES:
        what = repr(given["role"]) if "role" in given else "nothing"
        raise ValueError(f"{where}.role: {what} was given, expected one of {', '.join(_ROLES)}")
    content = given.get("content")
    if not isinstance(content, (str, list, tuple, type(None))):
        raise TypeError(f"{where}.content: {type(content).__name__} was given, expected str or a list of text parts")
    if calls := given.get("tool_calls"):
        given["tool_calls"] = [call.as_message_part() if isinstance(call, ToolCall) else call for call in calls]
    return given
