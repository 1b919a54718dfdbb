from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from nemotron_serving.errors import PackageError
from nemotron_serving.output.detokenizer import Detokenizer, Vocabulary
from nemotron_serving.output.tags import READ_TAGS
from tests.unit.serving.support import (
    CONTROL_TOKENS,
    TEXTS,
    bpe_tokenizer,
    byte_tokenizer,
    ids_of,
    special_tags_tokenizer,
    vocabulary_of,
)

UNKNOWN_IDS = [-1, 10**6]


def scripts_text() -> st.SearchStrategy[str]:
    """Text of Thai, Devanagari, emoji with joiners and modifiers, and ASCII."""
    joined = st.sampled_from(["\u200d", "\ufe0f", "\U0001f3fd", "\u20e3", "\U0001f469", "\U0001f467", "\U0001f1f9"])
    return st.lists(
        st.one_of(
            st.characters(min_codepoint=0x0E01, max_codepoint=0x0E5B),
            st.characters(min_codepoint=0x0900, max_codepoint=0x097F),
            joined,
            st.characters(max_codepoint=0x7F),
        ),
        max_size=40,
    ).map("".join)


@given(data=st.data())
def test_a_whole_sequence_decodes_as_the_tokenizers_library_does(
    vocabulary: Vocabulary, tokenizer: Tokenizer, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=60))
    assert vocabulary.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True)


@given(data=st.data())
def test_token_by_token_gives_the_text_of_the_whole(vocabulary: Vocabulary, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(vocabulary) - 1), max_size=60))
    detokenizer = Detokenizer(vocabulary)
    assert "".join(map(detokenizer.feed, ids)) + detokenizer.flush() == vocabulary.decode(ids)


@given(text=scripts_text())
def test_no_replacement_character_in_mid_stream(vocabulary: Vocabulary, tokenizer: Tokenizer, text: str) -> None:
    _assert_clean(vocabulary, tokenizer, text)


@pytest.mark.parametrize("text", TEXTS)
def test_no_replacement_character_in_mid_stream_of_many_scripts(
    vocabulary: Vocabulary, tokenizer: Tokenizer, text: str
) -> None:
    _assert_clean(vocabulary, tokenizer, text)


def _assert_clean(vocabulary: Vocabulary, tokenizer: Tokenizer, text: str) -> None:
    detokenizer = Detokenizer(vocabulary)
    so_far = ""
    for token in tokenizer.encode(text, add_special_tokens=False).ids:
        so_far += detokenizer.feed(token)
        assert text.startswith(so_far)
    assert so_far == text
    assert detokenizer.flush() == ""


def test_a_character_cut_off_by_the_end_becomes_a_replacement_character(vocabulary: Vocabulary) -> None:
    detokenizer = Detokenizer(vocabulary)
    first_bytes = [vocabulary.token_bytes.index(bytes([byte])) for byte in "ก".encode()[:2]]
    assert [detokenizer.feed(token) for token in first_bytes] == ["", ""]
    assert detokenizer.flush() == "\ufffd"


def test_control_tokens_and_unknown_ids_give_no_text(vocabulary: Vocabulary) -> None:
    assert vocabulary.special_ids == {token: index for index, token in enumerate(CONTROL_TOKENS)}
    letter = vocabulary.token_bytes.index(b"A")
    ids = [0, letter, 1, *UNKNOWN_IDS, letter, 2]
    detokenizer = Detokenizer(vocabulary)
    assert vocabulary.decode(ids) == "AA"
    assert [detokenizer.feed(token) for token in ids] == ["", "A", "", "", "", "A", ""]


def test_added_tokens_that_are_not_control_tokens_are_text(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    vocabulary = vocabulary_of(tokenizer, tmp_path)
    ids = tokenizer.encode("a<think>b", add_special_tokens=False).ids
    assert len(ids) == 3
    assert vocabulary.decode(ids) == "a<think>b"


def test_tags_that_outputs_are_read_by_are_text_in_every_tokenizer(tmp_path: Path) -> None:
    tags = sorted(READ_TAGS)
    vocabulary = vocabulary_of(special_tags_tokenizer(), tmp_path)
    ids = [vocabulary.special_ids[name] for name in (*tags, CONTROL_TOKENS[0], "<TOOL_RESPONSE>")]
    assert vocabulary.decode(ids) == "".join(tags)
    detokenizer = Detokenizer(vocabulary)
    assert [detokenizer.feed(index) for index in ids] == [*tags, "", ""]


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("decoder", {"type": "WordPiece"}, "WordPiece"),
        ("decoder", None, "None"),
        ("model", {"type": "Unigram", "vocab": []}, "Unigram"),
    ],
)
def test_other_kinds_of_tokenizers_are_refused(tmp_path: Path, field: str, value: object, found: str) -> None:
    content = msgspec.json.decode(byte_tokenizer().to_str())
    content[field] = value
    path = tmp_path / "tokenizer.json"
    path.write_bytes(msgspec.json.encode(content))
    with pytest.raises(PackageError, match=f"expected a byte-level BPE tokenizer.*{found}"):
        Vocabulary.load(path)


def test_bytes_are_spelled_with_the_token_that_they_are_or_one_by_one(tmp_path: Path) -> None:
    vocabulary = vocabulary_of(byte_tokenizer(), tmp_path)
    assert vocabulary.spell(b"") == []
    assert vocabulary.spell(b"ab\n") == ids_of("ab\n")
    learnt = vocabulary_of(bpe_tokenizer(), tmp_path)
    whole = next(index for index, data in enumerate(learnt.token_bytes) if len(data) > 3)
    assert learnt.spell(learnt.bytes_of(whole)) == [whole]
    spelled = learnt.spell(learnt.bytes_of(whole) + b"\n\n\n\n")
    assert b"".join(map(learnt.bytes_of, spelled)) == learnt.bytes_of(whole) + b"\n\n\n\n"
    assert not set(spelled) & set(learnt.special_ids.values())
    special = vocabulary_of(special_tags_tokenizer(), tmp_path)
    assert special.spell(b"</think>") == ids_of("</think>"), "never a special token, even where it has bytes"
