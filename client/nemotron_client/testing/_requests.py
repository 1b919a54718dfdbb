"""What came: a request as a test wants to look at it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nemotron_client._contract import INPUTS
from nemotron_client._transports.base import Call

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
    """

    request_id: str
    inputs: Mapping[str, Any]
    headers: Mapping[str, str]
    outcome: Literal["", "answered", "failed", "cancelled"] = ""

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
    def num_words(self) -> int:
        """The words of all messages, or of the prompt."""
        texts = [self.prompt] if self.prompt is not None else map(_text_of, self.messages)
        return sum(len(text.split()) for text in texts)

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
