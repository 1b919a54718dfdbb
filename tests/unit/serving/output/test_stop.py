from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.output.stop import StopMatcher


def run(words: Sequence[str], *chunks: str) -> tuple[list[str], bool]:
    """What each chunk and the end give, and whether a stop string was met."""
    matcher = StopMatcher(words)
    given_out = [matcher.feed(chunk) for chunk in chunks]
    return [*given_out, matcher.flush()], matcher.stopped


@pytest.mark.parametrize(
    ("words", "chunks", "expected", "stopped"),
    [
        ([], ["a", "b"], ["a", "b", ""], False),
        ([""], ["a", "b"], ["a", "b", ""], False),
        (["END"], ["one END two"], ["one ", ""], True),
        (["END"], ["one E", "N", "D two", "more"], ["one ", "", "", "", ""], True),
        (["END"], ["one E", "NX"], ["one ", "ENX", ""], False),
        (["END"], ["one EN"], ["one ", "EN"], False),
        (["END"], ["one", "END"], ["one", "", ""], True),
        (["END"], ["END"], ["", ""], True),
        (["b", "abc"], ["xa", "b", "c"], ["x", "", "", ""], True),  # the longer one has begun earlier
        (["b", "abc"], ["xa", "b", "d"], ["x", "", "a", ""], True),
        (["b", "abc"], ["xa", "b"], ["x", "", "a"], True),  # decided by the end
        (["ab", "abc"], ["xab", "c"], ["x", "", ""], True),
        (["aab"], ["aaa", "b"], ["a", "", ""], True),  # the held end overlaps itself
        (["\n\n", "\n\nUser:"], ["A\n", "\nUser:"], ["A", "", ""], True),
        (["ก"], ["กา"], ["", ""], True),
    ],
)
def test_table(words: list[str], chunks: list[str], expected: list[str], stopped: bool) -> None:
    assert run(words, *chunks) == (expected, stopped)


@given(
    words=st.lists(st.text("ab", max_size=4), max_size=4),
    chunks=st.lists(st.text("abc", max_size=5), max_size=8),
)
def test_any_chunking_cuts_at_the_first_stop_string(words: list[str], chunks: list[str]) -> None:
    text = "".join(chunks)
    begins = [text.find(word) for word in words if word and word in text]
    given_out, stopped = run(words, *chunks)
    assert "".join(given_out) == text[: min(begins, default=len(text))]
    assert stopped is bool(begins)
