"""tokenizer.json from the vocabulary and merges inside a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader, TokenType
from tokenizers import Tokenizer

from nemotron_build.byte_level import byte_level_bpe
from nemotron_build.errors import BuildError

_CONTROL = int(TokenType.CONTROL)
_KNOWN_TYPES = {int(TokenType.NORMAL), _CONTROL}


@dataclass(frozen=True)
class GgufVocabulary:
    """What a GGUF file says about its tokenizer.

    Attributes:
        model: `tokenizer.ggml.model`, the algorithm.
        pre: `tokenizer.ggml.pre`, the name of the pre-tokenizer.
        tokens: Token strings by id, in the byte-level alphabet.
        types: GGUF token types by id.
        merges: Pairs in order of priority.
        eos_token_id: The token that ends a turn.
        chat_template: Jinja source.
        context_length: Tokens the model was trained for.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[tuple[str, str]]
    eos_token_id: int
    chat_template: str
    context_length: int


def read_vocabulary(path: Path) -> GgufVocabulary:
    """Read the tokenizer's fields of a GGUF file.

    Raises:
        BuildError: not a GGUF file, or a field is missing.
    """
    try:
        reader = GGUFReader(path)
    except ValueError as error:
        raise BuildError(f"{path.name} cannot be read as GGUF: {error}.") from error

    def value(field: str) -> Any:
        found = reader.get_field(field)
        if found is None:
            raise BuildError(f"{path.name} has no field {field}; a Llama-shaped GGUF with its tokenizer is needed.")
        return found.contents()

    left, right = 0, 1
    pairs = [merge.split(" ") for merge in value("tokenizer.ggml.merges")]
    return GgufVocabulary(
        model=value("tokenizer.ggml.model"),
        pre=value("tokenizer.ggml.pre"),
        tokens=value("tokenizer.ggml.tokens"),
        types=value("tokenizer.ggml.token_type"),
        merges=[(pair[left], pair[right]) for pair in pairs],
        eos_token_id=value("tokenizer.ggml.eos_token_id"),
        chat_template=value("tokenizer.chat_template"),
        context_length=value("llama.context_length"),
    )


def make_tokenizer(vocabulary: GgufVocabulary) -> Tokenizer:
    """Build the tokenizer that the model was trained with.

    Raises:
        BuildError: a model, pre-tokenizer or token type that this version cannot reproduce, named.
    """
    _require("tokenizer.ggml.model", vocabulary.model, "gpt2")
    _require("tokenizer.ggml.pre", vocabulary.pre, "smollm")
    unknown = sorted(set(vocabulary.types) - _KNOWN_TYPES)
    if unknown:
        raise BuildError(f"tokenizer.ggml.token_type has the value {unknown[0]}; only 1 (normal) and 3 (control) work.")
    control = [token for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == _CONTROL]
    tokenizer = byte_level_bpe(vocabulary.tokens, vocabulary.merges, control)
    if tokenizer.get_vocab_size() != len(vocabulary.tokens):
        raise BuildError(
            f"The tokenizer has {tokenizer.get_vocab_size()} tokens, the GGUF {len(vocabulary.tokens)}: "
            "its vocabulary holds a token twice."
        )
    return tokenizer


def _require(field: str, found: str, expected: str) -> None:
    if found != expected:
        raise BuildError(f"{field} is {found!r}; only {expected!r} can be turned into tokenizer.json by this version.")
