"""tokenizer.json out of a GGUF written here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from nemotron_build.cpu.gguf_tokenizer import GgufVocabulary, make_tokenizer, read_vocabulary
from nemotron_build.cpu.tokenizer_check import check_round_trip
from nemotron_build.cpu.tokenizer_corpus import corpus
from nemotron_build.errors import BuildError, CheckpointError
from tests.llama3 import llama3_tokenizer

_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_TEMPLATE = "<|im_start|>system\nYou are small<|im_end|>\n"

WriteGguf = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path) -> WriteGguf:
    def write(
        *, model: str = "gpt2", pre: str = "smollm", control_type: int = 3, template: str | None = _TEMPLATE
    ) -> Path:
        path = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(512)
        writer.add_tokenizer_model(model)
        writer.add_tokenizer_pre(pre)
        normal = [*sorted(ByteLevel.alphabet()), "he", "ll", "hell"]
        writer.add_token_list(_CONTROL + normal)
        writer.add_token_types([control_type] * len(_CONTROL) + [1] * len(normal))
        writer.add_token_merges(["h e", "l l", "he ll"])
        writer.add_eos_token_id(2)
        if template is not None:
            writer.add_chat_template(template)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return path

    return write


def test_fields(write_gguf: WriteGguf) -> None:
    vocabulary = read_vocabulary(write_gguf())
    assert vocabulary.merges == [("h", "e"), ("l", "l"), ("he", "ll")]
    assert len(vocabulary.tokens) == len(vocabulary.types) == 262
    assert (vocabulary.eos_token_id, vocabulary.context_length) == (2, 512)
    assert vocabulary.chat_template == _TEMPLATE


def test_merges_digits_and_control_tokens(write_gguf: WriteGguf) -> None:
    tokenizer = make_tokenizer(read_vocabulary(write_gguf()))
    assert tokenizer.get_vocab_size() == 262
    assert tokenizer.encode("hello42<|im_end|>").tokens == ["hell", "o", "4", "2", "<|im_end|>"]


def test_corpus_comes_back(write_gguf: WriteGguf) -> None:
    tokenizer = make_tokenizer(read_vocabulary(write_gguf()))
    strings = corpus()
    assert len(strings) > 390
    for text in strings:
        check_round_trip(tokenizer, text, tokenizer.encode(text, add_special_tokens=False).ids)


def test_lost_text_is_named(write_gguf: WriteGguf) -> None:
    tokenizer = make_tokenizer(read_vocabulary(write_gguf()))
    with pytest.raises(BuildError, match="decodes 'hello' as 'hell'"):
        check_round_trip(tokenizer, "hello", tokenizer.encode("hell").ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre": "qwen2"}, "tokenizer.ggml.pre is 'qwen2'; only 'llama-bpe' and 'smollm'"),
        ({"model": "llama"}, "tokenizer.ggml.model is 'llama'; only 'gpt2'"),
        ({"control_type": 4}, "token_type has the value 4"),
    ],
)
def test_unknown_kinds_are_refused_by_name(write_gguf: WriteGguf, change: dict[str, object], message: str) -> None:
    vocabulary = read_vocabulary(write_gguf(**change))
    with pytest.raises(BuildError, match=message):
        make_tokenizer(vocabulary)


def test_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"bare.gguf has no field tokenizer.ggml.merges"):
        read_vocabulary(path)


def test_a_file_need_not_have_a_chat_template(write_gguf: WriteGguf) -> None:
    assert read_vocabulary(write_gguf(template=None)).chat_template == ""


def test_ends_are_those_named_and_those_known(write_gguf: WriteGguf) -> None:
    """The file names <|im_end|>; <|endoftext|> is known to end a text."""
    assert read_vocabulary(write_gguf()).stop_token_ids == (2, 0)


def test_llama_bpe_is_llama_3s_tokenizer() -> None:
    """As llama.cpp writes it: tokens by id, merges in order, special tokens of the type control."""
    real = llama3_tokenizer()
    names = real.get_vocab(with_added_tokens=True)
    content = json.loads(real.to_str())
    special = {token["id"] for token in content["added_tokens"]}
    made = make_tokenizer(
        GgufVocabulary(
            model="gpt2",
            pre="llama-bpe",
            tokens=sorted(names, key=names.__getitem__),
            types=[3 if id_ in special else 1 for id_ in range(len(names))],
            merges=[(left, right) for left, right in content["model"]["merges"]],
            eos_token_id=128009,
            chat_template="",
            context_length=131072,
        )
    )
    for text in corpus():
        assert made.encode(text).ids == real.encode(text, add_special_tokens=False).ids, text


def test_not_a_gguf(tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(BuildError, match="cannot be read as GGUF"):
        read_vocabulary(path)
