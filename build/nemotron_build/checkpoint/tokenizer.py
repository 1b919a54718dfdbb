"""The tokenizer of a checkpoint: whether it is this model's, and which tokens steer a chat."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from nemotron_build.checkpoint.shape import CONFIG, ModelShape
from nemotron_build.errors import CheckpointError
from nemotron_build.json_file import read_json

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"

_MOST_PADDING = 1024
_SENTENCEPIECE = "tokenizer.model"


@dataclass(frozen=True)
class TokenizerFacts:
    """What a tokenizer holds.

    Attributes:
        path: tokenizer.json.
        vocab_size: One more than the highest id.
        control_ids: Id of each token that is matched as a whole, such as `<|eot_id|>`.
        bos_token: What begins a text according to tokenizer_config.json.
        chat_template: Jinja source, where tokenizer_config.json or chat_template.jinja has one.
    """

    path: Path
    vocab_size: int
    control_ids: dict[str, int]
    bos_token: str | None
    chat_template: str | None


def read_tokenizer(checkpoint: Path, shape: ModelShape) -> TokenizerFacts:
    """Load tokenizer.json and check that it fits the model.

    Raises:
        CheckpointError: it is missing or cannot be loaded, or it is another model's.
    """
    path = checkpoint / TOKENIZER
    tokenizer = _load(path)
    described = checkpoint / TOKENIZER_CONFIG
    settings = read_json(described, _Settings) if described.is_file() else _Settings()
    template = checkpoint / CHAT_TEMPLATE
    facts = TokenizerFacts(
        path=path,
        vocab_size=1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1),
        control_ids={
            token.content: id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special
        },
        bos_token=settings.bos,
        chat_template=template.read_text(encoding="utf-8-sig") if template.is_file() else settings.template,
    )
    _check_size(facts, shape)
    _check_begin(facts, tokenizer, checkpoint / CONFIG)
    return facts


class _Settings(msgspec.Struct):
    bos_token: str | dict[str, Any] | None = None
    chat_template: str | list[dict[str, str]] | None = None

    @property
    def bos(self) -> str | None:
        """Transformers before version 5 may write the whole token here."""
        return self.bos_token.get("content") if isinstance(self.bos_token, dict) else self.bos_token

    @property
    def template(self) -> str | None:
        """Several templates have names, and the one for chats is `default`."""
        if isinstance(self.chat_template, list):
            named = {entry.get("name"): entry.get("template") for entry in self.chat_template}
            return named.get("default")
        return self.chat_template


class _Ids(msgspec.Struct):
    bos_token_id: int | None = None


def _load(path: Path) -> Tokenizer:
    if not path.is_file():
        other = path.with_name(_SENTENCEPIECE)
        found = f", only {_SENTENCEPIECE}" if other.is_file() else ""
        raise CheckpointError(
            f"{path} is missing{found}. Download it, or write it with AutoTokenizer's save_pretrained."
        )
    with path.open("rb") as file:
        marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    if marked:
        # It goes into the package as it is, and the library that reads it there does not take the mark either.
        raise CheckpointError(f"{path} begins with a byte order mark. Save it as UTF-8 without one.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(f"{path} cannot be loaded: {error}. Download it again.") from error


def _check_size(tokenizer: TokenizerFacts, shape: ModelShape) -> None:
    found, expected = tokenizer.vocab_size, shape.vocab_size
    # A vocabulary may be padded to a multiple of a power of two; the padding is then less than that power.
    padded_to = min(expected & -expected, _MOST_PADDING)
    if found > expected or expected - found >= padded_to:
        raise CheckpointError(
            f"{tokenizer.path} has {found:,} tokens, the model {expected:,}: it is another model's. "
            "Use the tokenizer that came with this checkpoint."
        )


def _check_begin(tokenizer: TokenizerFacts, loaded: Tokenizer, config: Path) -> None:
    named = read_json(config, _Ids).bos_token_id
    if tokenizer.bos_token is None or named is None:
        return
    found = loaded.token_to_id(tokenizer.bos_token)
    if found != named:
        raise CheckpointError(
            f"{tokenizer.path}: the id of {tokenizer.bos_token} is {found}, {CONFIG} says bos_token_id {named}. "
            "Use the tokenizer that came with this checkpoint."
        )
