"""Chat formats: how a conversation is written for a model.

A format renders to parts. `Control` parts become the one token of that name; strings are text, whoever wrote
them, and can never become a control token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nemotron_serving.chat.messages import Message
from nemotron_serving.errors import PackageError


@dataclass(frozen=True)
class Control:
    """A control token by its name in the tokenizer, such as `<|im_start|>`."""

    token: str


PromptPart = Control | str
ChatFormat = Callable[[Sequence[Message], str, str], list[PromptPart]]
"""Renders (messages, default system prompt, prefill of the assistant's turn)."""


def chatml(messages: Sequence[Message], default_system_prompt: str, prefill: str) -> list[PromptPart]:
    """ChatML, as SmolLM2's own chat template writes it; the last turn is opened for the assistant."""
    start, end = Control("<|im_start|>"), Control("<|im_end|>")
    turns = [(message.role, message.text) for message in messages]
    if default_system_prompt and turns[0][0] != "system":
        turns.insert(0, ("system", default_system_prompt))
    parts: list[PromptPart] = []
    for role, text in turns:
        parts += [start, f"{role}\n{text}", end, "\n"]
    return [*parts, start, f"assistant\n{prefill}"]


_FORMATS: dict[str, ChatFormat] = {"chatml": chatml}


def chat_format(name: str) -> ChatFormat:
    """The format that a package names.

    Raises:
        PackageError: a name that this version does not know.
    """
    if name not in _FORMATS:
        raise PackageError(
            f"chat_format {name!r} is not known here, expected one of {sorted(_FORMATS)}. "
            "Serve the package with the version that built it."
        )
    return _FORMATS[name]
