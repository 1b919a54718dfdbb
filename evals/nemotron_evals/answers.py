r"""What the answer of an output is: pure functions of text, by the server's own rules for thinking and tool calls.

An endpoint may have taken the thinking and the calls out of the text already, as nemotron-front does; then these find
nothing more to take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator
from typing import Any

from nemotron_serving.output.call_syntax import FunctionCall, read_calls
from nemotron_serving.output.tags import CLOSE_TAG, NEMOTRON_CALL_TAGS, OPEN_TAG
from nemotron_serving.output.tool_calls import ToolCallReader

_BOX = re.compile(r"\\f?boxed\s*\{")
_LETTER = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf|mathit)\s*\{)?\s*\(?\s*([A-D])\b")
_PYTHON_BLOCK = re.compile(r"```(?:python|py)[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_BLOCK = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_LOOSE_RATING = re.compile(r"\[(\d+(?:\.\d+)?)\]|Rating: (\d+)")


def answer(text: str) -> str:
    """The text after the thinking.

    What stands after the last `</think>` is the answer, whether or not a `<think>` stands before it; a `<think>` after
    it is text, as for the server. Thinking that was begun and not ended has no answer: a box in it counts for nothing.
    """
    _, closed, after = text.rpartition(CLOSE_TAG)
    return "" if OPEN_TAG in after and not closed else after.strip("\n")


def boxes(text: str) -> list[str]:
    r"""What stands in each `\boxed{…}`, in order; one whose braces do not close is none."""
    found: list[str] = []
    end = 0
    for box in _BOX.finditer(text):
        if box.start() < end:
            continue  # inside the one before
        close = _closing_brace(text, box.end())
        if close is not None:
            found.append(text[box.end() : close].strip())
            end = close
    return found


def last_box(text: str) -> str | None:
    r"""The last `\boxed{…}`; None without one. An answer that is not boxed is none: the prompt asks for a box."""
    found = boxes(text)
    return found[-1] if found else None


def letter(text: str) -> str | None:
    r"""The letter in the last box, as `A`, `(A)`, `A.` or `\text{A}`; None where there is none from A to D."""
    found = _LETTER.match(last_box(text) or "")
    return found[1] if found else None


def code(text: str) -> str:
    """The program in an answer: the first block of Python, or else of code, or else the whole answer."""
    block = _PYTHON_BLOCK.search(text) or _BLOCK.search(text)
    return (block[1] if block else text).replace("# Your codes here\n", "").strip()


def rating(text: str) -> float | None:
    """The rating in a judge's reply, from 1 to 10: the first `[[n]]`, else `[n]` or `Rating: n`; None without one."""
    found = _RATING.search(text) or _LOOSE_RATING.search(text)
    if found is None:
        return None
    value = float(next(group for group in found.groups() if group))
    return value if 1 <= value <= 10 else None


def calls(text: str, given: Iterable[tuple[str, Any]] = ()) -> list[tuple[str, dict[str, Any]]]:
    """The tool calls of an answer, as names and arguments, whatever the names are.

    Args:
        text: The answer: calls in blocks as the server reads them, or an answer that is nothing but calls.
        given: Calls that the endpoint has taken out of the text, with arguments as an object or its JSON text.
    """
    found = [(name, _arguments(arguments)) for name, arguments in given]
    reader = ToolCallReader((), *NEMOTRON_CALL_TAGS)
    runs = [*reader.feed(text), *reader.flush()]
    blocks = [unread.text for run in runs for unread in run.unread]
    found += [read for block in blocks for read in _read(block)[0]]
    if not found and not blocks:
        bare, only_calls = _read(text)
        found = bare if only_calls else []
    return found


def _read(block: str) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
    """The calls in a block, and whether there is nothing else in it."""
    read = read_calls(block, _AnyName())
    return [_call(call.function) for call in read.calls], not read.unread


def _call(function: FunctionCall) -> tuple[str, dict[str, Any]]:
    return function.name, _arguments(function.arguments)


def _arguments(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given or "{}")
        except ValueError:
            return {"": given}  # a parameter that no function has
    return given if isinstance(given, dict) else {"": given}


def _closing_brace(text: str, at: int) -> int | None:
    depth = 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return None


class _AnyName(Container[str]):
    """All names: which of them there are is for the checker to say."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
