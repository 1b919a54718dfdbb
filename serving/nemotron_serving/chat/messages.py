"""Chat messages in OpenAI's shape, as the `messages` input carries them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.output.reasoning import CLOSE_TAG


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a content list. Images and audio are not for this model."""

    type: Literal["text"]
    text: str


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation. `name` and `refusal` are accepted and not shown to the model."""

    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart] | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None
    refusal: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one string; an earlier assistant turn is shown without its thinking."""
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        if self.role == "assistant" and CLOSE_TAG in text:
            return text.split(CLOSE_TAG, 1)[1].lstrip("\n")
        return text


def parse_messages(value: str) -> list[Message]:
    """Read the JSON of the `messages` input.

    Raises:
        InvalidRequestError: not JSON, not a list of messages, or a conversation that nobody can answer.
    """
    try:
        messages = msgspec.json.decode(value, type=list[Message])
    except msgspec.ValidationError as error:
        raise InvalidRequestError("messages", f"{error}. Expected OpenAI's chat messages.") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequestError("messages", f"not valid JSON ({error})") from error
    if not messages:
        raise InvalidRequestError("messages", "the list is empty, expected at least one message")
    for number, message in enumerate(messages):
        if message.tool_calls:
            raise InvalidRequestError(f"messages[{number}].tool_calls", "tool calls are not supported yet")
        if not message.text and message.role != "assistant":
            raise InvalidRequestError(f"messages[{number}].content", f"empty, expected the {message.role}'s text")
        if message.role == "system" and number > 0:
            raise InvalidRequestError(f"messages[{number}].role", "a system message must be the first message")
    if messages[-1].role != "user":
        raise InvalidRequestError("messages", f"the last message is from the {messages[-1].role}, expected the user")
    return messages
