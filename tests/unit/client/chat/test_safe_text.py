"""Nothing that a terminal would obey gets through, and nothing else is changed."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.chat.safe_text import SafeStream, encodable, safe, safe_json, safe_line

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates too
NASTY = st.text(st.sampled_from("a\x1b[]m\r\n\t\x07\x00\x7f\x9b\x85\u2028\u202e\u2066\ud800ก👩\u200d"))
BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def dangerous(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t"
    ) or character in BIDI


@given(ANY_TEXT | NASTY)
def test_nothing_dangerous_is_left(text: str) -> None:
    assert not any(map(dangerous, safe(text)))
    safe(text).encode()


@given(ANY_TEXT | NASTY)
def test_safe_text_stays_as_it_is(text: str) -> None:
    assert safe(safe(text)) == safe(text)


@given(ANY_TEXT | NASTY)
def test_a_line_is_one_line(text: str) -> None:
    assert safe_line(text).splitlines() in ([], [safe_line(text)])


@given(st.lists(ANY_TEXT | NASTY))
def test_parts_give_what_the_whole_gives(parts: list[str]) -> None:
    stream = SafeStream()
    assert "".join([*map(stream.made_safe, parts), stream.end()]) == safe("".join(parts))


@given(ANY_TEXT | NASTY)
def test_json_stays_the_same_json(text: str) -> None:
    written = safe_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(written) == [text]
    assert not any(map(dangerous, written))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]52;c;cm0gLXJm\x07", r"\x1b]52;c;cm0gLXJm\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("over\rwritten", r"over\rwritten"),
        ("one\r\ntwo", "one\ntwo"),
        ("user\u202egpj.exe", r"user\u202egpj.exe"),
        ("half \ud83d", r"half \ud83d"),
        ("สวัสดีครับ नमस्ते 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 é", "สวัสดีครับ नमस्ते 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 é"),
        ("a\tb\n", "a\tb\n"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert safe(text) == expected


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("• one ─ “two”…", "ascii", '* one - "two".'),
        ("café ไทย", "latin-1", "café ???"),
        ("ไทย", "utf-8", "ไทย"),
    ],
)
def test_a_terminal_without_utf8_gets_a_likeness(text: str, encoding: str, expected: str) -> None:
    assert encodable(text, encoding) == expected
