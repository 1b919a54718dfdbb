r"""Conversations as the text that a model reads, thinking on or off: what the scales are measured on.

This is the small part of the serving side's chat formats that calibration needs, kept equal to it by a test. Calls and
results of tools are text here, in the model's own tags.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from nemotron_build.chat_format import CHATML
from nemotron_build.serving_defaults import NEMOTRON_CHAT_FORMAT

_NO_THINKING = "<think>\n</think>"
_END_OF_THINKING = "</think>"


class Turn(msgspec.Struct, frozen=True):
    """One message. The thinking before an assistant's content stands apart from it."""

    role: Literal["system", "user", "assistant"]
    content: str
    reasoning_content: str = ""


class Conversation(msgspec.Struct, frozen=True):
    """Messages, and the functions that the model is told of, each as OpenAI's `function` object."""

    messages: list[Turn]
    tools: list[dict[str, Any]] = []


def render(conversation: Conversation, chat_format: str | None, *, thinking: bool) -> str:
    """Write a conversation in a chat format, or where that is None as the bare texts.

    It ends after the assistant's last turn, or, where the user has the last word, where the assistant's begins.
    """
    if chat_format == NEMOTRON_CHAT_FORMAT:
        return _nemotron(conversation, thinking)
    if chat_format == CHATML:
        return _chatml(conversation)
    return "\n\n".join(turn.content for turn in conversation.messages)


def answer(text: str) -> Turn:
    """An assistant's turn from raw output, which may begin with a think block."""
    thought, closed, content = text.partition(_END_OF_THINKING)
    if not closed:
        return Turn("assistant", text)
    return Turn("assistant", content.lstrip("\n"), thought.removeprefix("<think>").strip("\n"))


def _nemotron(conversation: Conversation, thinking: bool) -> str:
    toggle = f"detailed thinking {'on' if thinking else 'off'}"
    functions = ", ".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in conversation.tools)
    available = f"\n\n<AVAILABLE_TOOLS>[{functions}]</AVAILABLE_TOOLS>" if functions else ""
    text = "<|begin_of_text|>" + _header("system") + toggle + available + "<|eot_id|>"
    turns = _with_preface(conversation.messages)
    for turn in turns[:-1]:  # of earlier turns the model is not shown the thinking
        text += f"{_header(turn.role)}{turn.content}<|eot_id|>"
    last = turns[-1]
    if last.role == "user":
        return text + f"{_header('user')}{last.content}<|eot_id|>{_header('assistant')}" + _opening(thinking)
    thought = f"<think>\n{last.reasoning_content}\n</think>" if thinking and last.reasoning_content else ""
    block = thought or _opening(thinking)
    return text + _header("assistant") + (f"{block}\n\n" if block else "") + f"{last.content}<|eot_id|>"


def _chatml(conversation: Conversation) -> str:
    turns = conversation.messages
    text = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in turns)
    return text if turns[-1].role == "assistant" else f"{text}<|im_start|>assistant\n"


def _with_preface(turns: list[Turn]) -> list[Turn]:
    """The turns of user and assistant; system text moves to the head of the user's first."""
    system = [turn.content for turn in turns if turn.role == "system"]
    rest = [turn for turn in turns if turn.role != "system"]
    first = next(place for place, turn in enumerate(rest) if turn.role == "user")
    rest[first] = Turn("user", "\n\n".join([*system, rest[first].content]))
    return rest


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def _opening(thinking: bool) -> str:
    return "" if thinking else _NO_THINKING
