"""The parts of a prompt: control tokens and text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nemotron_serving.output.tags import READ_TAGS

ESCAPED_LESS = r"\u003c"
"""What `<` is in a JSON string as well."""

_READ_TAG = re.compile(f"({'|'.join(map(re.escape, READ_TAGS))})")


@dataclass(frozen=True)
class Control:
    """A control token by its name in the tokenizer, such as `<|im_start|>`."""

    token: str


class Tag(str):
    """A tag that a format or the package writes: text, and one token where the tokenizer has it as a special one."""

    __slots__ = ()


PromptPart = Control | str
"""Text, unless it is a `Tag`, never becomes a special token."""


def in_tags(name: str, text: str) -> list[PromptPart]:
    """A text between the tags of this name.

    Args:
        name: The tags' name.
        text: JSON wherever the closing tag may occur in it: there it stands in a string, and is written with an escape,
            so that it does not end the block. (Any other text is as it was: what models were trained with.)
    """
    closing = f"</{name}>"
    return [Tag(f"<{name}>"), text.replace(closing, ESCAPED_LESS + closing[1:]), Tag(closing)]


def tagged(text: str) -> list[PromptPart]:
    """The package's own text, with the tags in it."""
    return [Tag(piece) if piece in READ_TAGS else piece for piece in _READ_TAG.split(text) if piece]


def spaced(*blocks: Sequence[PromptPart]) -> list[PromptPart]:
    """Blocks with a blank line between them, empty ones left out."""
    parts: list[PromptPart] = []
    for block in filter(any, blocks):
        parts += ["\n\n", *block] if parts else block
    return parts


def compact(parts: Iterable[PromptPart]) -> list[PromptPart]:
    """The same with neighbouring texts as one."""
    made: list[PromptPart] = []
    for part in parts:
        if made and type(part) is str and type(made[-1]) is str:
            made[-1] += part
        elif part:
            made.append(part)
    return made


def shown(part: PromptPart) -> str:
    """A part as detokenizing gives it back: control tokens are not seen, but for the tags that outputs are read by."""
    if isinstance(part, Control):
        return part.token if part.token in READ_TAGS else ""
    return part


def ends_with(parts: Sequence[PromptPart], tag: str) -> bool:
    """Whether a prompt ends with this tag, and nothing but white space after it."""
    end = ""
    for part in reversed(parts):
        end = (shown(part) + end).rstrip()
        if len(end) >= len(tag) or (isinstance(part, Control) and not shown(part)):
            break
    return end.endswith(tag)


class ControlTokens:
    """Finds the control tokens of a tokenizer in text whose author may write them."""

    def __init__(self, names: Iterable[str]) -> None:
        longest_first = sorted(names, key=len, reverse=True)
        nothing = "(?!)"
        self._pattern = re.compile("(" + ("|".join(map(re.escape, longest_first)) or nothing) + ")")

    def split(self, text: str) -> list[PromptPart]:
        """The text in parts, none of them empty."""
        # With one group in the pattern, every second piece is what the group found.
        pieces = enumerate(self._pattern.split(text))
        return [Control(piece) if number % 2 else piece for number, piece in pieces if piece]
