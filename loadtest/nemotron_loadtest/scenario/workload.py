"""The `[workload]` table: one struct for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from nemotron_loadtest.scenario.distributions import Delay, Length, Tokens

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Kind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds have.

    Attributes:
        thinking_share: Share of the conversations with thinking on; 0 to 1.
        max_thinking_tokens: Budget of a request with thinking; None leaves it to the package.
        options: Further options of each request, by their names in `nemotron_client.Options`.
    """

    thinking_share: Share = 0.0
    max_thinking_tokens: Length | None = None
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        _check_options(self.options, thinking="thinking_share", max_thinking_tokens="max_thinking_tokens")
        if "request_id" in self.options:
            raise ValueError("options.request_id is set, but each request has an id of its own")


class Made(_Kind, frozen=True, kw_only=True):
    """What kinds have whose prompts are made to measure.

    Attributes:
        ask: The end of each user message, counted in its tokens: what the model is to do. A message is never shorter.
        exact_output: Sends min_tokens too, so that the model does not stop before.
    """

    ask: str = "Write about this at length."
    exact_output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_options(self.options, max_tokens="output_tokens", min_tokens="exact_output")


class Sized(Made, frozen=True, kw_only=True):
    """What kinds have whose answers have a length that the scenario gives.

    Attributes:
        output_tokens: max_tokens of each request.
        thinking_output_tokens: The same for requests with thinking, the thinking included; None is `output_tokens`.
    """

    output_tokens: Length = 128
    thinking_output_tokens: Length | None = None


class Synthetic(Sized, frozen=True, kw_only=True, tag="synthetic"):
    """One message, of a given length.

    Attributes:
        input_tokens: Length of the message.
    """

    input_tokens: Length = 256


class Chat(Sized, frozen=True, kw_only=True, tag="chat"):
    """Conversations of several turns that share system prompts, as an application's users do.

    Attributes:
        input_tokens: Length of each of the user's messages.
        turns: Turns of a conversation.
        think_time_s: Time from an answer to the next turn.
        systems: How many system prompts there are; each conversation has one of them.
        system_tokens: Length of each system prompt.
    """

    input_tokens: Length = 64
    turns: Length = 4
    think_time_s: Delay = 1.0
    systems: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    system_tokens: Tokens = 256


class Rag(Sized, frozen=True, kw_only=True, tag="rag"):
    """A document and a question about it.

    Attributes:
        documents: How many there are; each question is about one of them.
        document_tokens: Length of each document.
        input_tokens: Length of the question.
    """

    documents: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100
    document_tokens: Length = 2048
    input_tokens: Length = 32


class Tools(Sized, frozen=True, kw_only=True, tag="tools"):
    """A question with functions that may be called. A call gets a result, and the model its second turn.

    Attributes:
        tools: How many functions are given.
        input_tokens: Length of the message.
        max_calls: Calls that get a result; one more is the end of the conversation.
        exact_output: Off: a call ends where it ends.
    """

    tools: Annotated[int, msgspec.Meta(ge=1, le=6)] = 3
    input_tokens: Length = 64
    max_calls: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
    ask: str = "What is the weather in Paris now?"
    exact_output: bool = False


class Lines(_Kind, frozen=True, kw_only=True, tag="file"):
    """Requests of one's own: JSON lines of `messages` or `raw_prompt`, and options of the client.

    Attributes:
        path: A file. In a scenario it is relative to the scenario's directory.
        order: `file`: one line after the other, and again from the first; `random`: any line each time.
    """

    path: str
    order: Literal["file", "random"] = "file"


class TraceLengths(Made, frozen=True, kw_only=True, tag="trace"):
    """The lengths of the scenario's trace, line after line, and again from the first.

    Attributes:
        max_input_tokens: Longer prompts are cut to this.
        max_output_tokens: Longer answers are cut to this.
    """

    max_input_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None


def _check_options(options: dict[str, Any], **fields: str) -> None:
    for name, field in fields.items():
        if name in options:
            raise ValueError(f"options.{name} is set, expected it in the workload's own field {field}")


Workload = Synthetic | Chat | Rag | Tools | Lines | TraceLengths
