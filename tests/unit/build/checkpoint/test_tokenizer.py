"""Whose tokenizer it is, and whether a chat can be written with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from nemotron_build.checkpoint.shape import LLAMA_31_8B, read_shape
from nemotron_build.checkpoint.tokenizer import read_tokenizer
from nemotron_build.errors import CheckpointError
from tests.llama3 import llama3_tokenizer
from tests.unit.build.checkpoint.conftest import EditJson
from tests.unit.build.tiny import tiny_tokenizer, write_json


def test_the_tiny_one(checkpoint: Path) -> None:
    facts = read_tokenizer(checkpoint, read_shape(checkpoint))
    tokenizer = Tokenizer.from_file(str(facts.path))
    assert facts.vocab_size == tokenizer.get_vocab_size() == 512
    assert (facts.bos_token, facts.chat_template) == ("<|begin_of_text|>", None)
    assert facts.control_ids["<|eot_id|>"] == tokenizer.token_to_id("<|eot_id|>")


def test_llama_3_and_the_8b(tmp_path: Path) -> None:
    llama3_tokenizer().save(str(tmp_path / "tokenizer.json"))
    write_json(tmp_path / "config.json", {"bos_token_id": 128000})
    write_json(tmp_path / "tokenizer_config.json", {"bos_token": "<|begin_of_text|>"})
    facts = read_tokenizer(tmp_path, LLAMA_31_8B)
    assert facts.vocab_size == LLAMA_31_8B.vocab_size == 128256
    assert (facts.control_ids["<|begin_of_text|>"], facts.control_ids["<|eot_id|>"]) == (128000, 128009)


@pytest.mark.parametrize("vocab", [513, 1024])
def test_more_tokens_than_the_model(checkpoint: Path, vocab: int) -> None:
    tiny_tokenizer(vocab).save(str(checkpoint / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=rf"has {vocab:,} tokens, the model 512: it is another model's"):
        read_tokenizer(checkpoint, read_shape(checkpoint))


@pytest.mark.parametrize(
    ("tokens", "embedding", "fits"),
    [
        (500, 512, True),  # padded to a multiple of 64 or 512
        (512, 576, False),  # a multiple of 64, but 64 are missing
        (513, 576, True),
        (512, 513, False),  # padded to nothing
        (512, 4096, False),  # nobody pads by thousands
    ],
)
def test_padded_embedding(checkpoint: Path, edit: EditJson, tokens: int, embedding: int, fits: bool) -> None:
    tiny_tokenizer(tokens).save(str(checkpoint / "tokenizer.json"))
    edit("config.json", vocab_size=embedding, bos_token_id=None)
    shape = read_shape(checkpoint)
    if fits:
        assert read_tokenizer(checkpoint, shape).vocab_size == tokens
    else:
        with pytest.raises(CheckpointError, match="it is another model's"):
            read_tokenizer(checkpoint, shape)


def test_begin_of_text_of_another_model(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", bos_token_id=1)
    with pytest.raises(CheckpointError, match=r"is 465, config.json says bos_token_id 1. Use the tokenizer that came"):
        read_tokenizer(checkpoint, read_shape(checkpoint))


def test_missing(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").rename(checkpoint / "tokenizer.model")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is missing, only tokenizer.model.*AutoTokenizer"):
        read_tokenizer(checkpoint, read_shape(checkpoint))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {"type": "Other"}}'])
def test_damaged(checkpoint: Path, content: str) -> None:
    (checkpoint / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer.json cannot be loaded: .*Download it again") as refused:
        read_tokenizer(checkpoint, read_shape(checkpoint))
    assert "\n" not in str(refused.value)


def test_spellings_of_tokenizer_config(checkpoint: Path, edit: EditJson) -> None:
    edit(
        "tokenizer_config.json",
        bos_token={"content": "<|begin_of_text|>", "lstrip": False},
        chat_template=[{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}],
    )
    facts = read_tokenizer(checkpoint, read_shape(checkpoint))
    assert (facts.bos_token, facts.chat_template) == ("<|begin_of_text|>", "D")


def test_chat_template_in_a_file_of_its_own(checkpoint: Path, edit: EditJson) -> None:
    edit("tokenizer_config.json", chat_template="old")
    (checkpoint / "chat_template.jinja").write_text("new")
    assert read_tokenizer(checkpoint, read_shape(checkpoint)).chat_template == "new"


def test_no_tokenizer_config(checkpoint: Path) -> None:
    (checkpoint / "tokenizer_config.json").unlink()
    assert read_tokenizer(checkpoint, read_shape(checkpoint)).bos_token is None
