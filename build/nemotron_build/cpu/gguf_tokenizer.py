"""tokenizer.json from the vocabulary and merges inside a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gguf import TokenType
from tokenizers import Tokenizer

from nemotron_build.byte_level import Family, byte_level_bpe
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.errors import CheckpointError
from nemotron_build.serving_defaults import NEMOTRON_STOP_TOKENS

_CONTROL, _VISIBLE, _UNUSED = (int(kind) for kind in (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED))
_KNOWN_TYPES = {int(TokenType.NORMAL), _CONTROL, _VISIBLE, _UNUSED}
_MODEL = "gpt2"  # GGUF's name for every byte-level BPE
# llama.cpp's names for the same rules, old ones too.
_FAMILIES: dict[str, Family] = {"llama-bpe": "llama3", "llama3": "llama3", "llama-v3": "llama3", "smollm": "smollm"}
_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
_KNOWN_ENDS = (*NEMOTRON_STOP_TOKENS, "<|im_end|>", "<|endoftext|>")


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
        chat_template: Jinja source; empty where the file has none.
        context_length: Tokens the model was trained for.
        other_ends: Further tokens that end an output: those that the file names as such, and those known by their
            texts.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[tuple[str, str]]
    eos_token_id: int
    chat_template: str
    context_length: int
    other_ends: tuple[int, ...] = ()

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an output, the one that ends a turn first."""
        return tuple(dict.fromkeys((self.eos_token_id, *self.other_ends)))


def read_vocabulary(file: Path | GgufFile) -> GgufVocabulary:
    """Read the tokenizer's fields of a GGUF file.

    Raises:
        CheckpointError: not a GGUF file, a field is missing, or does not fit the others.
    """
    if isinstance(file, Path):
        file = GgufFile(file)
    tokens = file.value("tokenizer.ggml.tokens", kind=list)
    types = file.value("tokenizer.ggml.token_type", kind=list)
    if len(types) != len(tokens):
        raise CheckpointError(
            f"{file.path.name} has {len(tokens)} tokens and types of {len(types)}. Download it again."
        )
    eos = file.value("tokenizer.ggml.eos_token_id", kind=int)
    if not 0 <= eos < len(tokens) or types[eos] == _UNUSED:
        raise CheckpointError(f"{file.path.name}: tokenizer.ggml.eos_token_id {eos} is no token. Download it again.")
    # As llama.cpp does, pass over further ends that are no tokens: some files have -1 for none.
    named = [end for field in _ENDS if 0 <= (end := file.value(field, -1, kind=int)) < len(tokens)]
    known = [tokens.index(end) for end in _KNOWN_ENDS if end in tokens]
    return GgufVocabulary(
        model=file.value("tokenizer.ggml.model", kind=str),
        pre=file.value("tokenizer.ggml.pre", kind=str),
        tokens=tokens,
        types=types,
        merges=_merges(file, tokens),
        eos_token_id=eos,
        chat_template=file.value("tokenizer.chat_template", "", kind=str),
        context_length=file.value("llama.context_length", kind=int),
        other_ends=tuple(end for end in (*named, *known) if types[end] != _UNUSED),
    )


def make_tokenizer(vocabulary: GgufVocabulary) -> Tokenizer:
    """Build the tokenizer that the model was trained with.

    Raises:
        CheckpointError: a model, pre-tokenizer or token type that this version cannot reproduce, named.
    """
    _require("tokenizer.ggml.model", vocabulary.model, [_MODEL])
    _require("tokenizer.ggml.pre", vocabulary.pre, list(_FAMILIES))
    unknown = sorted(set(vocabulary.types) - _KNOWN_TYPES)
    if unknown:
        raise CheckpointError(
            f"tokenizer.ggml.token_type has the value {unknown[0]}; only 1 (normal), 3 (control), 4 (user defined) and "
            "5 (unused) work."
        )
    kinds = list(zip(vocabulary.tokens, vocabulary.types, strict=True))
    tokens = [None if kind == _UNUSED else token for token, kind in kinds]
    control = [token for token, kind in kinds if kind == _CONTROL]
    # Such as <think>, where the checkpoint's tokenizer has it as an added token that is not special.
    visible = [token for token, kind in kinds if kind == _VISIBLE]
    tokenizer = byte_level_bpe(tokens, vocabulary.merges, control, _FAMILIES[vocabulary.pre], visible=visible)
    expected = len(tokens) - tokens.count(None)
    if tokenizer.get_vocab_size() != expected:
        raise CheckpointError(
            f"The tokenizer has {tokenizer.get_vocab_size()} tokens, the GGUF {expected}: "
            "its vocabulary holds a token twice."
        )
    return tokenizer


def _merges(file: GgufFile, tokens: list[str]) -> list[tuple[str, str]]:
    merges, known = [], set(tokens)
    for merge in file.value("tokenizer.ggml.merges", kind=list):
        left, _, right = str(merge).partition(" ")
        if not {left, right, left + right} <= known:
            raise CheckpointError(
                f"{file.path.name}: tokenizer.ggml.merges has {merge!r}, expected two tokens with a space between them "
                "that make a third. Download it again."
            )
        merges.append((left, right))
    return merges


def _require(field: str, found: str, known: list[str]) -> None:
    if found not in known:
        raise CheckpointError(
            f"{field} is {found!r}; only {', '.join(map(repr, known))} can be turned into tokenizer.json by this "
            "version. Build from the checkpoint in safetensors, which brings its tokenizer.json."
        )
