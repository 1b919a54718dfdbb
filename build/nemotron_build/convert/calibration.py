"""The texts that FP8's scales are measured on, and others to judge the result with.

The sets that ship are our own: short questions and answers in the languages of the model card, some with thinking,
code, mathematics and calls of tools.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tokenizers import Tokenizer

from nemotron_build.chat_format import fitting_format
from nemotron_build.convert.conversation import Conversation, Turn, answer, render
from nemotron_build.errors import BuildError

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint

CALIBRATION_SET = Path(__file__).with_name("calibration.jsonl")
HELD_OUT_SET = Path(__file__).with_name("held_out.jsonl")

_LINE = 'an object with "messages", with "prompt" and perhaps "response", or with "text"'


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
