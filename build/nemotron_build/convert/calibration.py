"""The texts that FP8's scales are measured on, and others to judge the result with.

The sets that ship are our own: short questions and answers in the languages of the model card, some with thinking,
code, mathematics and calls of tools. A prompt is written by the server's own chat formats, and the answer behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from tokenizers import Tokenizer

from nemotron_build.chat_format import control_tokens, fitting_format, write_prompt
from nemotron_build.errors import BuildError
from nemotron_build.serving_defaults import NEMOTRON_PREFILL_OFF
from nemotron_serving.chat.formats import CHATML, NEMOTRON, ChatRequest
from nemotron_serving.chat.messages import Message
from nemotron_serving.chat.tools import Tool
from nemotron_serving.output.tags import CLOSE_TAG, OPEN_TAG

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint

CALIBRATION_SET = Path(__file__).with_name("calibration.jsonl")
HELD_OUT_SET = Path(__file__).with_name("held_out.jsonl")

_LINE = 'an object with "messages", with "prompt" and perhaps "response", or with "text"'


class Turn(msgspec.Struct, frozen=True):
    """One message. The thinking before an assistant's content stands apart from it.

    Calls and results of tools are text here, in the model's own tags.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    reasoning_content: str = ""


class Conversation(msgspec.Struct, frozen=True):
    """Messages, and the functions that the model is told of, each as OpenAI's `function` object."""

    messages: list[Turn]
    tools: list[dict[str, Any]] = []


def calibration_texts(checkpoint: Checkpoint, file: Path | None, samples: int) -> list[str]:
    """Conversations in the checkpoint's chat format, thinking on and off in turn.

    Where there are fewer conversations than samples, each comes a second time with the other kind of thinking.

    Args:
        checkpoint: Its tokenizer says which format it knows.
        file: A .txt file with user turns between blank lines, or a .jsonl file (`_LINE`); None for the set that ships.
        samples: The most to return.

    Raises:
        BuildError: the file cannot be read, or holds nothing; a broken line is named.
    """
    conversations = read_conversations(file or CALIBRATION_SET)[:samples]
    chat_format = _format_of(checkpoint)
    texts = [
        render(conversation, chat_format, thinking=(place % 2 == 0) != swapped)
        for swapped in (False, True)
        for place, conversation in enumerate(conversations)
    ]
    return list(dict.fromkeys(texts))[:samples]


def held_out_texts(checkpoint: Checkpoint, file: Path | None = None) -> list[str]:
    """Texts to judge with: none of those that ship is in the calibration set. Thinking is on and off in turn.

    Args:
        checkpoint: As `calibration_texts`.
        file: As there; it should hold nothing that was calibrated with.

    Raises:
        BuildError: as `calibration_texts`.
    """
    chat_format = _format_of(checkpoint)
    conversations = read_conversations(file or HELD_OUT_SET)
    return [render(each, chat_format, thinking=place % 2 == 0) for place, each in enumerate(conversations)]


def read_conversations(file: Path) -> list[Conversation]:
    """Read a calibration file.

    Raises:
        BuildError: see `calibration_texts`.
    """
    readers = {".txt": _paragraphs, ".jsonl": _lines}
    if file.suffix not in readers:
        raise BuildError(f"Calibration file {file} ends with {file.suffix!r}, expected .txt or .jsonl.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"Calibration file {file} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise BuildError(f"Calibration file {file} cannot be read: {error.strerror}.") from error
    conversations = list(readers[file.suffix](file, text))
    if not conversations:
        raise BuildError(f"Calibration file {file} is empty. Some hundred prompts are a good number.")
    return conversations


def render(conversation: Conversation, chat_format: str | None, *, thinking: bool) -> str:
    """Write a conversation in a chat format, or where that is None as the bare texts.

    It ends after the assistant's last turn, or, where the user has the last word, where the assistant's begins. Of
    earlier turns the model is not shown the thinking, and tools only in the format whose tags the texts are written in.
    """
    if chat_format is None:
        return "\n\n".join(turn.content for turn in conversation.messages)
    *earlier, last = conversation.messages
    answered = last.role == "assistant"
    block = ""
    tools: tuple[Tool, ...] = ()
    if chat_format == NEMOTRON:
        block = _think_block(last, thinking)
        tools = tuple(_tool(each.get("function", each)) for each in conversation.tools)
    messages = [Message(turn.role, turn.content) for turn in (earlier if answered else conversation.messages)]
    prompt = write_prompt(chat_format, ChatRequest(messages, tools, thinking, prefill=block))
    if not answered:
        return prompt
    end = control_tokens(chat_format)[-1] + ("\n" if chat_format == CHATML else "")
    return prompt + ("\n\n" if block else "") + last.content + end


def answer(text: str) -> Turn:
    """An assistant's turn from raw output, which may begin with a think block."""
    thought, closed, content = text.partition(CLOSE_TAG)
    if not closed:
        return Turn("assistant", text)
    return Turn("assistant", content.lstrip("\n"), thought.removeprefix(OPEN_TAG).strip("\n"))


class _Line(msgspec.Struct):
    """A line of a .jsonl file: one of the three."""

    messages: list[Turn] = []
    tools: list[dict[str, Any]] = []
    prompt: str = ""
    response: str = ""
    text: str = ""


def _paragraphs(_: Path, text: str) -> Iterator[Conversation]:
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield Conversation([Turn("user", "\n".join(paragraph))])
            paragraph = []


def _lines(file: Path, text: str) -> Iterator[Conversation]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON may hold U+2028
        if line.strip():
            try:
                yield _conversation(msgspec.json.decode(line, type=_Line))
            except ValueError as error:
                raise BuildError(f"Calibration file {file}, line {number}: {error}. Each line is {_LINE}.") from error


def _conversation(line: _Line) -> Conversation:
    if bool(line.messages) + bool(line.prompt) + bool(line.text) != 1:
        raise ValueError("it has none of messages, prompt and text, or several")
    if line.messages:
        if not any(turn.role == "user" for turn in line.messages):
            raise ValueError("no message has the role user")
        last = line.messages[-1]
        if last.role == "assistant" and not last.reasoning_content:
            return Conversation([*line.messages[:-1], answer(last.content)], line.tools)
        return Conversation(line.messages, line.tools)
    user = Turn("user", line.prompt or line.text)
    return Conversation([user, answer(line.response)] if line.response else [user])


def _format_of(checkpoint: Checkpoint) -> str | None:
    return fitting_format(Tokenizer.from_file(str(checkpoint.tokenizer.path)))


def _tool(function: dict[str, Any]) -> Tool:
    return Tool(str(function.get("name", "")), function)


def _think_block(last: Turn, thinking: bool) -> str:
    """What the assistant's turn opens with."""
    if not thinking:
        return NEMOTRON_PREFILL_OFF
    thought = last.reasoning_content if last.role == "assistant" else ""
    return f"{OPEN_TAG}\n{thought}\n{CLOSE_TAG}" if thought else ""
