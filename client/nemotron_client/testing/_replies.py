"""What a script gets and says: replies, how they come, what goes wrong with them, and the requests that came."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from nemotron_client._contract import ENSEMBLE, FINISH_REASONS, GENERATING_MODEL, INPUTS
from nemotron_client._transports import Call
from nemotron_client._types import ToolCall, ToolCallError, Usage

Split = Callable[[str], Iterable[str]]
"""Cuts a text into pieces, which joined are the text again. A piece is what one response brings: a token."""


def words(text: str) -> list[str]:
    """One word a piece, each with the space before it: about what a model's tokens are."""
    return re.findall(r"\s*\S+|\s+", text)


def whole(text: str) -> list[str]:
    """All in one piece."""
    return [text]


def pieces(size: int) -> Split:
    """Pieces of so many characters."""
    if size < 1:
        raise ValueError(f"size: {size} was given, expected at least 1")
    return lambda text: [text[begin : begin + size] for begin in range(0, len(text), size)]


def random_pieces(seed: int, longest: int = 8) -> Split:
    """Pieces of 1 to `longest` characters, by chance; the same for the same seed and text."""
    if longest < 1:
        raise ValueError(f"longest: {longest} was given, expected at least 1")

    def split(text: str) -> list[str]:
        chance, found, begin = random.Random(seed), [], 0  # noqa: S311 - not for secrets
        while begin < len(text):
            end = begin + chance.randint(1, longest)
            found.append(text[begin:end])
            begin = end
        return found

    return split


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong. Made by the functions of this class.

    Attributes:
        kind: An `error` in a response, a `status` that ends the call, the connection's end (`close`), silence
            (`stall`), or bytes that no Triton sends (`garbage`).
        message: What an error or a status says.
        status: The gRPC name of a status; of an error, what its message ends with, or nothing for Triton's own errors.
    """

    kind: Literal["error", "status", "close", "stall", "garbage"]
    message: str = ""
    status: str = ""

    @classmethod
    def invalid(cls, message: str) -> Fault:
        """The server refuses the request: InvalidRequestError. `max_tokens: …` puts `max_tokens` into its `param`."""
        return cls("error", message, "INVALID_ARGUMENT")

    @classmethod
    def no_token(cls, token_ids: Sequence[int]) -> Fault:
        """The server has no text for one of these: InvalidRequestError."""
        return cls.invalid(f"input_ids: {max(token_ids)} is no token id of a word that came before")

    @classmethod
    def internal(cls, message: str = "The engine failed.") -> Fault:
        """The server fails: ServerError."""
        return cls("error", message, "INTERNAL")

    @classmethod
    def full(cls) -> Fault:
        """The server has no room: OverloadedError, after the client's retries."""
        message = "This server has 8 requests in flight, which is its limit; try again later."
        return cls("error", message, "UNAVAILABLE")

    @classmethod
    def shutting_down(cls) -> Fault:
        """The server takes no new requests: ServerUnavailableError, after the client's retries."""
        message = "This server is shutting down and takes no new requests; try another one."
        return cls("error", message, "UNAVAILABLE")

    @classmethod
    def not_ready(cls) -> Fault:
        """The model is not loaded: ModelNotReadyError."""
        return cls("error", "Request for unknown model: 'ensemble' has no available versions")

    @classmethod
    def unauthenticated(cls, message: str = "The token has expired") -> Fault:
        """A gateway wants other credentials: AuthenticationError."""
        return cls("status", message, "UNAUTHENTICATED")

    @classmethod
    def close(cls) -> Fault:
        """The connection breaks: ServerUnavailableError."""
        return cls("close")

    @classmethod
    def stall(cls) -> Fault:
        """Nothing more comes: RequestTimeoutError, once one of the client's `Timeouts` is reached."""
        return cls("stall")

    @classmethod
    def garbage(cls) -> Fault:
        """Something comes that no Triton sends: ServerError."""
        return cls("garbage")

    def message_about(self, request_id: str, model: str = ENSEMBLE) -> str:
        """The error message as the server writes it. Models end theirs with the status; Triton's own have none.

        Args:
            request_id: The request at fault.
            model: The one that was asked.
        """
        if not self.status:
            return self.message
        where = "" if model == GENERATING_MODEL else f"in ensemble '{model}', "
        about = f"request {request_id!r}: " if self.status == "INTERNAL" else ""
        return f"{where}{about}{self.message} ({self.status})"


@dataclass(frozen=True)
class ScriptedReply:
    """One reply, and how it comes. A text alone, as in `["Paris."]`, is a reply with this content.

    Attributes:
        content: The answer; a list of texts has it come in these pieces.
        reasoning_content: The thinking; a list has it come in these pieces.
        tool_calls: The functions that are called.
        tool_call_error: A call that could not be read. Write its text into `content` too, as the server does.
        finish_reason: `stop`, or `tool_calls` where there are some, if not given.
        usage: The token counts; else each piece and each tool call is a token, and each word of the prompt.
        thinking_budget_reached: What the reply says of it, see `Reply`.
        package: What has answered, see `Reply`; empty is a server that does not say.
        logprobs: What the reply has, see `Reply`; each piece brings its share, if the request asks for them.
        split: How texts are cut into pieces: `words`, `whole`, `pieces(size)`, `random_pieces(seed)`, or a function
            of your own.
        ttft_s: Seconds until the first response.
        token_s: Seconds between two responses.
        endless: The content comes over and over, until the request is cancelled.
        fault: What goes wrong once all of the above has come, in place of the end. With nothing else in the reply,
            the request fails at once.
        match: Which requests it answers: a regular expression that is searched in the text of the last message, or a
            function that says so. Empty: all.
        times: How many requests it answers; None for any number.
    """

    content: str | Sequence[str] = ""
    _: KW_ONLY
    reasoning_content: str | Sequence[str] = ""
    tool_calls: Sequence[ToolCall] = ()
    tool_call_error: ToolCallError | None = None
    finish_reason: str = ""
    usage: Usage | None = None
    thinking_budget_reached: bool = False
    package: str = "simulated"
    logprobs: Sequence[Mapping[str, Any]] = ()
    split: Split = words
    ttft_s: float = 0.0
    token_s: float = 0.0
    endless: bool = False
    fault: Fault | None = None
    match: str | Callable[[RecordedRequest], bool] = ""
    times: int | None = 1

    def __post_init__(self) -> None:
        if self.finish_reason and self.finish_reason not in FINISH_REASONS:
            raise ValueError(
                f"finish_reason: {self.finish_reason!r} was given, expected one of {', '.join(FINISH_REASONS)}"
            )
        if self.endless and (self.fault or not self.content):
            raise ValueError("endless: expected some content and no fault, for what never ends cannot fail at its end")
        if min(self.ttft_s, self.token_s) < 0:
            raise ValueError(f"ttft_s, token_s: {self.ttft_s}, {self.token_s} was given, expected 0 or more seconds")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times: {self.times} was given, expected 1 or more, or None for any number")
        if isinstance(self.match, str):
            try:
                re.compile(self.match)
            except re.error as error:
                raise ValueError(f"match: {self.match!r} is not a regular expression: {error}") from None
        for text in (self.content, self.reasoning_content):
            if isinstance(text, str) and "".join(self.split(text)) != text:
                raise ValueError("split: the pieces of a text are not the text, expected a function that only cuts")

    def pieces_of(self, text: str | Sequence[str]) -> list[str]:
        """A text of this reply as it comes."""
        return [piece for piece in (self.split(text) if isinstance(text, str) else text) if piece]

    def ends_with(self) -> str:
        """The finish reason."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    @property
    def refuses(self) -> bool:
        """Whether the request is not even begun."""
        fault = self.fault is not None and self.fault.kind == "error" and self.fault.status != "INTERNAL"
        return fault and not (self.content or self.reasoning_content or self.tool_calls)

    def __str__(self) -> str:
        """For messages: what it says and whom it answers."""
        text = self.content if isinstance(self.content, str) else "".join(self.content)
        shown = [repr(text)] if text or not (self.tool_calls or self.fault) else []
        shown += [f"{call.name}({call.arguments})" for call in self.tool_calls]
        shown += [f"Fault {self.fault.kind} {self.fault.message}".rstrip()] if self.fault else []
        who = f" for requests that match {self.match!r}" if self.match else ""
        return " + ".join(shown) + who


# Not what a caller would call an option.
_CONVERSATION = ("messages", "text_input", "raw_prompt", "stream")
_SHOWN_CHARACTERS = 200  # of a text, in a message


def _tool_choice(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


_JSON_OPTIONS: dict[str, Callable[[str], Any]] = {
    "logit_bias": lambda text: {int(token): bias for token, bias in json.loads(text).items()},
    "response_format": json.loads,
    "tool_choice": _tool_choice,
    "tools": json.loads,
}


@dataclass(eq=False)
class RecordedRequest:
    """A request that came.

    Attributes:
        request_id: Its name, as in `reply.request_id`.
        inputs: The values by the names of docs/requests.md, as they were sent.
        headers: HTTP headers or gRPC metadata; names in lower case.
        outcome: `answered`, `failed`, or `cancelled` by a stop of the client, which it sends when a stream is left
            early. Empty while it runs, and if it was abandoned.
        session: The key of the session that it came on; empty where it came by itself.
    """

    request_id: str
    inputs: Mapping[str, Any]
    headers: Mapping[str, str]
    outcome: Literal["", "answered", "failed", "cancelled"] = ""
    session: str = ""

    @classmethod
    def of(cls, call: Call) -> RecordedRequest:
        """What a client hands to its transport."""
        inputs = {name: _as_list(name, value) for name, value in call.inputs.items()}
        return cls(call.request_id, inputs, call.headers)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, in OpenAI's shape; empty for a complete prompt (`generate`)."""
        if "messages" in self.inputs:
            messages: list[dict[str, Any]] = json.loads(self.inputs["messages"])
            return messages
        if self.inputs.get("raw_prompt"):
            return []
        return [{"role": "user", "content": self.inputs["text_input"]}]

    @property
    def prompt(self) -> str | None:
        """The complete prompt of `generate`; None for a conversation."""
        return self.inputs["text_input"] if self.inputs.get("raw_prompt") else None

    @property
    def text(self) -> str:
        """The text of the last message, or the prompt: what `match` searches."""
        if self.prompt is not None:
            return self.prompt
        return _text_of(self.messages[-1]) if self.messages else ""

    @property
    def options(self) -> dict[str, Any]:
        """What was said besides the conversation, by the names of `Options`; tools and formats in OpenAI's shape."""
        return {
            name: _JSON_OPTIONS[name](value) if name in _JSON_OPTIONS else value
            for name, value in self.inputs.items()
            if name not in _CONVERSATION
        }

    @property
    def words(self) -> list[str]:
        """The words of all messages, or of the prompt, with the spaces before them."""
        texts = [self.prompt] if self.prompt is not None else map(_text_of, self.messages)
        return [word for text in texts for word in words(text)]

    @property
    def num_words(self) -> int:
        """The number of these."""
        return len(self.words)

    def __str__(self) -> str:
        """For messages: what was asked, shortened."""
        if self.prompt is not None:
            what = f"generate({_shortened(self.prompt)})"
        elif self.messages:
            role = self.messages[-1].get("role")
            what = f"chat with {len(self.messages)} messages, the last one from the {role}: {_shortened(self.text)}"
        else:
            what = "chat with no messages"
        options = ", ".join(f"{name}={_shortened(value)}" for name, value in self.options.items())
        return f"{what}; options: {options}" if options else what


def _as_list(name: str, value: Any) -> Any:
    """The value as it would come over the wire, where only the contract knows a single string from a list of one."""
    is_list = name in INPUTS and INPUTS[name].is_list
    return [value] if is_list and isinstance(value, str) else value


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
