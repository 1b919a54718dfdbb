"""The real Llama 3 tokenizer, made from the data file in `llama-models`; none of its code is imported."""

from __future__ import annotations

import base64
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

BEGIN_OF_TEXT = 128000
VOCABULARY_SIZE = 128256

# How Llama 3 cuts a text into words: newlines belong to the punctuation before them.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def llama3_tokenizer() -> Tokenizer:
    """The tokenizer as a checkpoint's tokenizer.json holds it, beginning of text included."""
    ranks = _ranks()
    text = {token: _as_text(token) for token in ranks}
    vocabulary = {text[token]: rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, _merges(ranks, text), ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _special_names()])
    begin = _special_names()[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B:1", special_tokens=[(begin, BEGIN_OF_TEXT)]
    )
    return tokenizer


def _ranks() -> dict[bytes, int]:
    spec = find_spec("llama_models")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "llama3" / "tokenizer.model"
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _merges(ranks: dict[bytes, int], text: dict[bytes, str]) -> list[tuple[str, str]]:
    """Every way to make a token of two others: the token of the lowest rank is made first, whatever it is made of."""
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        made = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(made, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return [(text[left], text[right]) for left, right in merges]


def _as_text(token: bytes) -> str:
    return "".join(_BYTES[byte] for byte in token)


def _printable_bytes() -> list[str]:
    """The letter that byte-level vocabularies write for each byte: printable Latin-1 itself, the rest from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    moved = {byte: chr(0x100 + place) for place, byte in enumerate(others)}
    return [moved.get(byte, chr(byte)) for byte in range(256)]


_BYTES = _printable_bytes()


@cache
def _special_names() -> list[str]:
    named = {
        0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id",
        7: "end_header_id", 8: "eom_id", 9: "eot_id", 10: "python_tag",
    }  # fmt: skip
    others = (place for place in range(256) if place not in named)
    reserved = {place: f"reserved_special_token_{number}" for number, place in enumerate(others)}
    return [f"<|{(named | reserved)[place]}|>" for place in range(256)]
