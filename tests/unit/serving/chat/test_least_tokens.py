from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from nemotron_serving.chat.tokenizer import LeastTokens
from tests.unit.serving.support import CONTROL_TOKENS, TEXTS, bpe_tokenizer, byte_tokenizer, special_tags_tokenizer


def with_visible_tokens() -> Tokenizer:
    tokenizer = bpe_tokenizer()
    tokenizer.add_tokens([AddedToken("the whole of this 123", special=False, normalized=False)])
    return tokenizer


def whole_words() -> Tokenizer:
    """Every word that is in the vocabulary is that token, as in Llama 3."""
    raw = json.loads(bpe_tokenizer(like_llama_3=True).to_str())
    raw["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(raw))


def with_holes() -> Tokenizer:
    """A tokenizer that lacks letters of the alphabet, and so drops characters."""
    tokens = [one for one in sorted(pre_tokenizers.ByteLevel.alphabet()) if one not in "aeZ0"]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def normalizing() -> Tokenizer:
    tokenizer = bpe_tokenizer()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.NFKC()])
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": byte_tokenizer,
    "like GPT-2": bpe_tokenizer,
    "like Llama 3": lambda: bpe_tokenizer(like_llama_3=True),
    "words are tokens": whole_words,
    "special tags": special_tags_tokenizer,
    "visible tokens": with_visible_tokens,
    "holes": with_holes,
    "normalizers": normalizing,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def known(request: pytest.FixtureRequest) -> tuple[Tokenizer, LeastTokens]:
    tokenizer = TOKENIZERS[request.param]()
    least = LeastTokens(tokenizer.to_str().encode())
    tokenizer.encode_special_tokens = True
    return tokenizer, least


LONG_TOKENS = [*" \n\t-=#a1.é中", " \xa0", "ab ", "\r\n"]
PIECES = [*TEXTS, *CONTROL_TOKENS, "the whole of this 123", "disproportionately", "naïve", "\u3000 \xa0"]


def texts() -> st.SearchStrategy[str]:
    """Any text, and runs of what tokenizers have long tokens for."""
    runs = st.builds(lambda one, times: one * times, st.sampled_from(LONG_TOKENS), st.integers(1, 200))
    return st.lists(st.one_of(st.text(max_size=8), st.sampled_from(PIECES), runs), max_size=8).map("".join)


@given(text=texts())
@example("")
@example("".join(TEXTS))
def test_it_is_never_more_than_there_are(known: tuple[Tokenizer, LeastTokens], text: str) -> None:
    tokenizer, least = known
    assert least.of(text) <= len(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("text", ["a b " * 100, "2026" * 100, "x, y; z.\n" * 100])
def test_single_letters_and_digits_are_tokens_of_their_own(text: str) -> None:
    least = LeastTokens(bpe_tokenizer().to_str().encode())
    assert least.of(text) >= sum(map(str.isalnum, text))


def changed(change: Callable[[dict[str, Any]], None]) -> LeastTokens:
    raw = json.loads(bpe_tokenizer().to_str())
    change(raw)
    return LeastTokens(json.dumps(raw).encode())


def added(**changes: Any) -> Callable[[dict[str, Any]], None]:
    token = {"id": 9999, "content": "x", "special": False, "single_word": False, "normalized": False}
    return lambda raw: raw["added_tokens"].append(token | {"lstrip": False, "rstrip": False} | changes)


CASES: dict[str, Callable[[dict[str, Any]], None]] = {
    "lowercase": lambda raw: raw.update(normalizer={"type": "Lowercase"}),
    "a replacement in a sequence": lambda raw: raw.update(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "content": ""}]}
    ),
    "no bytes": lambda raw: raw.update(pre_tokenizer={"type": "Whitespace"}),
    "no cutter": lambda raw: raw.update(pre_tokenizer=None),
    "what is cut is lost": lambda raw: raw["pre_tokenizer"]["pretokenizers"].append(
        json.loads(pre_tokenizers.Split(Regex(" "), "removed").__getstate__())
    ),
    "suffixes": lambda raw: raw["model"].update(end_of_word_suffix="</w>"),
    "prefixes": lambda raw: raw["model"].update(continuing_subword_prefix="##"),
    "another model": lambda raw: raw["model"].update(type="Unigram"),
    "a token with the space around it": added(rstrip=True),
}


@pytest.mark.parametrize("change", CASES.values(), ids=CASES.keys())
def test_nothing_is_said_of_a_tokenizer_that_may_lose_text(change: Callable[[dict[str, Any]], None]) -> None:
    assert changed(added()).of("a b " * 1000) > 0
    assert changed(change).of("a b " * 1000) == 0


def test_with_a_normalizer_something_is_said_of_ascii_alone() -> None:
    least = LeastTokens(normalizing().to_str().encode())
    assert least.of("a b " * 1000) > 0
    assert least.of("ﬁ" * 1000) == 0
    assert changed(added(content="ﬁ")).of("a" * 1000) > 0
    both = json.loads(normalizing().to_str())
    added(content="ﬁ")(both)
    assert LeastTokens(json.dumps(both).encode()).of("a" * 1000) == 0
