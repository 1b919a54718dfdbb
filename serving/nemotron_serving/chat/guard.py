"""Keep a caller's text apart from a chat template's own text while the two are mixed.

A template may join, cut and change what it is given, so pieces of a caller's text could meet to form a control token.
Every control token has a character that is taken out of the caller's text before rendering: a private-use character
stands for it, one of the same length that occurs nowhere in the request, and is drawn anew for each request. A control
token that is found in the result has all of these characters from the template.

Its other characters may still be the caller's: a template that writes `<{{ key }}>` makes a token of the key `think`.
So names that could be a part of a token that was found are masked, and the template has to write the same tokens
without them.

A stand-in also takes the place of the `<` of tags that would end a block of tools or results. It becomes the escape of
JSON, for that is what templates write most of this as.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from nemotron_serving.chat.controls import ESCAPED_LESS
from nemotron_serving.chat.json_values import dump
from nemotron_serving.errors import InvalidRequestError, PackageError

_PRIVATE_USE = tuple(map(chr, range(0xE000, 0xF900)))
# The bar of `<|eot_id|>`, plain or full-width, if a token has it: templates do not look for bars in messages, but for
# tags. Letters are no choice: the keys of messages and schemas are made of them.
_GUARDED = (re.compile("[|\uff5c]"), re.compile(r"\W"))
# The shape of messages and tools, which templates look at; texts, which stand in no tag; and what is one of few words.
_SHAPE = frozenset(
    (
        *("role", "content", "tool_calls", "tool_call_id", "id", "type", "function", "name", "arguments"),
        *("description", "parameters", "properties", "required", "items", "enum"),
    )
)
_NOT_NAMES = frozenset(("role", "content", "type", "description"))
_random = random.SystemRandom()


def guarded_characters(control_tokens: Iterable[str]) -> str:
    """One character of each control token, each character once.

    Raises:
        PackageError: a control token that is a plain word.
    """
    characters: dict[str, None] = {}
    for token in control_tokens:
        found = next(filter(None, (pattern.search(token) for pattern in _GUARDED)), None)
        if found is None:
            raise PackageError(
                f"The tokenizer's control token {token!r} is a plain word, which a chat template cannot be guarded "
                "against. Use a chat format by name."
            )
        characters[found[0]] = None
    return "".join(characters)


class Guard:
    """The stand-ins of one request."""

    def __init__(self, guarded: str, values: Any) -> None:
        """Choose the stand-ins.

        Args:
            guarded: Characters that the caller's text must not contribute.
            values: All that comes from the caller, as JSON values.

        Raises:
            InvalidRequestError: the caller's text leaves no private-use characters.
        """
        used = set(dump(values))
        free = [character for character in _PRIVATE_USE if character not in used]
        if len(free) <= len(guarded):
            raise InvalidRequestError("messages", "nearly all private-use characters are used, expected some left")
        self._escape, *stand_ins = _random.sample(free, 1 + len(guarded))
        self._stand_ins = dict(zip(guarded, stand_ins, strict=True))

    def escape(self, value: Any, tags: Collection[str]) -> Any:
        """JSON values whose strings, keys included, hold none of these tags: each begins with the stand-in."""
        if isinstance(value, str):
            for tag in tags:
                value = value.replace(tag, self._escape + tag[1:])
            return value
        if isinstance(value, dict):
            return {self.escape(key, tags): self.escape(inner, tags) for key, inner in value.items()}
        return [self.escape(inner, tags) for inner in value] if isinstance(value, list) else value

    def protect(self, value: Any) -> Any:
        """JSON values with the stand-ins in all strings, keys included."""
        if isinstance(value, str):
            for character, stand_in in self._stand_ins.items():
                value = value.replace(character, stand_in)
            return value
        if isinstance(value, dict):
            return {self.protect(key): self.protect(inner) for key, inner in value.items()}
        return [self.protect(inner) for inner in value] if isinstance(value, list) else value

    def mask(self, value: Any, names: Collection[str]) -> Any:
        """JSON values with these names between stand-ins, for a look at what the template writes then."""
        if isinstance(value, str):
            mask = next(iter(self._stand_ins.values()))
            return f"{mask}{value}{mask}" if value in names else value
        if isinstance(value, dict):
            return {
                key if key in _SHAPE else self.mask(key, names): inner if key in _NOT_NAMES else self.mask(inner, names)
                for key, inner in value.items()
            }
        return [self.mask(inner, names) for inner in value] if isinstance(value, list) else value

    def restore(self, text: str) -> str:
        """The text as it was before `protect`, with an escape in each place that `escape` found."""
        text = text.replace(self._escape, ESCAPED_LESS)
        for character, stand_in in self._stand_ins.items():
            text = text.replace(stand_in, character)
        return text


def names_within(value: Any, tokens: Collection[str]) -> set[str]:
    """Names in JSON values that could be a part of one of these tokens: in it, or reaching over an end of it."""
    whole = "\n".join(tokens)
    ends = tuple({token[cut:] for token in tokens for cut in range(1, len(token))})
    beginnings = tuple({token[:cut] for token in tokens for cut in range(1, len(token))})
    return {
        name
        for name in set(_names(value))
        if (bare := name.strip()) and (bare in whole or bare.startswith(ends) or bare.endswith(beginnings))
    }


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in _SHAPE:
                yield key
            if key not in _NOT_NAMES:
                yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
