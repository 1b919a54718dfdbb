"""Byte-level BPE tokenizers, as SmolLM and Llama 3 have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

Family = Literal["smollm", "llama3"]

# How Llama 3 cuts a text into words: digits by three, newlines to the punctuation before them.
_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level_bpe(
    tokens: Sequence[str | None],
    merges: list[tuple[str, str]],
    control: Sequence[str],
    family: Family = "smollm",
    *,
    visible: Sequence[str] = (),
) -> Tokenizer:
    """A byte-level BPE.

    Args:
        tokens: Token strings by id, in the byte-level alphabet, those of `control` and `visible` as they are; None
            for an id that has none.
        merges: Pairs in order of priority.
        control: Tokens that are matched as a whole and skipped in decoding.
        family: How text is cut into words. `smollm` takes digits one by one; `llama3` by three, and takes a word that
            is a token as that token, whatever its merges are.
        visible: Tokens that are matched as a whole and are text.
    """
    vocabulary = {token: id_ for id_, token in enumerate(tokens) if token is not None}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=family == "llama3"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_words(family))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in visible])
    return tokenizer


def _words(family: Family) -> list[pre_tokenizers.PreTokenizer]:
    if family == "llama3":
        return [
            pre_tokenizers.Split(Regex(_LLAMA3_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    return [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
