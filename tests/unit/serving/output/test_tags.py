from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.output.tags import first_tag, held_back


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 0), ("a<", 1), ("a</think", 7), ("</think>", 0), ("<</", 2), ("</</t", 3)]
)
def test_held_back(text: str, length: int) -> None:
    assert held_back(text, ("</think>",)) == length


words = st.lists(st.text("ab<", min_size=1, max_size=4), max_size=3)


@given(text=st.text("ab<", max_size=12), tags=words)
def test_the_longest_beginning_of_any_tag_is_held_back(text: str, tags: list[str]) -> None:
    beginnings = {tag[:length] for tag in tags for length in range(1, len(tag))}
    assert held_back(text, tags) == max((len(part) for part in beginnings if text.endswith(part)), default=0)


@given(text=st.text("ab<", max_size=12), tags=words)
def test_the_first_tag_is_found(text: str, tags: list[str]) -> None:
    at, tag = first_tag(text, tags)
    found = [text.find(each) for each in tags if each in text]
    assert at == min(found, default=-1)
    assert (tag in tags and text.startswith(tag, at)) if found else tag == ""
