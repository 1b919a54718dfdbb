"""Where an answer may be cut while it is still written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.chat.live_text import finished_length


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("", ""),
        ("A line", ""),
        ("A line\n", ""),  # the next line may go on with it, or make it a heading
        ("A line\n\n", "A line\n\n"),
        ("One\n\nTw", "One\n\n"),
        ("# One\nTwo\n", "# One\n"),
        ("# One\nTwo", ""),
        ("- a\n- b\n\n", ""),  # an item, or a paragraph of the last one, may follow
        ("- a\n- b\n\nThen", ""),  # a line that has not ended may become anything
        ("- a\n- b\n\nThen\n", "- a\n- b\n\n"),
        ("```\na\n\nb\n", ""),
        ("```\na\n```\nThen\n", "```\na\n```\n"),
        ("| a |\n|---|\n| 1 |\n", ""),
        ("| a |\n|---|\n| 1 |\n\n", "| a |\n|---|\n| 1 |\n\n"),
        ("> a\n\n", ""),
    ],
)
def test_what_is_finished(text: str, finished: str) -> None:
    assert text[: finished_length(text)] == finished


@given(st.text(st.sampled_from("ab\n\n -*#>`|1.")), st.text(st.sampled_from("ab\n -*#>`|1.")))
def test_what_is_finished_stays_so(text: str, more: str) -> None:
    assert finished_length(text + more) >= finished_length(text)
