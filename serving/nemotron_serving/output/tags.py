"""The tags that outputs are read by, and finding them in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Iterable

OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"
NEMOTRON_CALL_TAGS = ("<TOOLCALL>", "</TOOLCALL>")
CHATML_CALL_TAGS = ("<tool_call>", "</tool_call>")
READ_TAGS = frozenset((OPEN_TAG, CLOSE_TAG, *NEMOTRON_CALL_TAGS, *CHATML_CALL_TAGS))
"""All of them. Some tokenizers have them as special tokens; in outputs they are text all the same."""


def first_tag(text: str, tags: Iterable[str]) -> tuple[int, str]:
    """Where the first of the tags stands, and which it is; `(-1, "")` where there is none."""
    first, which = -1, ""
    for tag in tags:
        at = text.find(tag) if first < 0 else text.find(tag, 0, first + len(tag) - 1)
        if at >= 0:
            first, which = at, tag
    return first, which


def held_back(text: str, tags: Iterable[str]) -> int:
    """Length of the longest end of `text` that could be the beginning of a tag."""
    longest = 0
    for tag in tags:
        at = text.find(tag[0], max(0, len(text) - len(tag) + 1))
        while at >= 0 and not tag.startswith(text[at:]):
            at = text.find(tag[0], at + 1)
        if at >= 0:
            longest = max(longest, len(text) - at)
    return longest
