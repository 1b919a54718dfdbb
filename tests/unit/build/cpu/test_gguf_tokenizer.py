"""tokenizer.json out of a GGUF written here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import pytest
from gguf import GGUFValueType as Field
from tokenizers.pre_tokenizers import ByteLevel

from nemotron_build.cpu.gguf_tokenizer import GgufVocabulary, make_tokenizer, read_vocabulary
from nemotron_build.cpu.openvino_tokenizer import check_against_openvino, check_round_trip, corpus, write_tokenizer_ir
from nemotron_build.errors import BuildError, CheckpointError
from nemotron_serving.chat.tokenizer import PromptTokenizer
from nemotron_serving.output.detokenizer import Vocabulary
from tests.llama3 import llama3_tokenizer

_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_TEMPLATE = "<|im_start|>system\nYou are small<|im_end|>\n"

WriteGguf = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path) -> WriteGguf:
    def write(
        *,
        model: str = "gpt2",
        pre: str = "smollm",
        control_type: int = 3,
        template: str | None = _TEMPLATE,
        others: tuple[tuple[str, int], ...] = (),
        eos: int = 2,
        merges: tuple[str, ...] = ("h e", "l l", "he ll"),
        fields: Mapping[str, tuple[Any, Field]] = MappingProxyType({}),
    ) -> Path:
        path = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(512)
        writer.add_tokenizer_model(model)
        writer.add_tokenizer_pre(pre)
        normal = [*sorted(ByteLevel.alphabet()), "he", "ll", "hell"]
        writer.add_token_list([*_CONTROL, *(token for token, _ in others), *normal])
        writer.add_token_types([control_type] * len(_CONTROL) + [kind for _, kind in others] + [1] * len(normal))
        writer.add_token_merges(merges)
        writer.add_eos_token_id(eos)
        if template is not None:
            writer.add_chat_template(template)
        for name, (value, kind) in fields.items():
            writer.kv_data[0].pop(f"tokenizer.ggml.{name}", None)
            writer.add_key_value(f"tokenizer.ggml.{name}", value, kind)
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
        ({"pre": "qwen2"}, "tokenizer.ggml.pre is 'qwen2'; only 'llama-bpe', 'llama3', 'llama-v3', 'smollm' can"),
        ({"model": "llama"}, "tokenizer.ggml.model is 'llama'; only 'gpt2'"),
        ({"pre": "llama4"}, "tokenizer.ggml.pre is 'llama4'"),
        (
            {"control_type": 2},
            r"token_type has the value 2; only 1 \(normal\), 3 \(control\), 4 \(user defined\) and 5",
        ),
        ({"control_type": 6}, "token_type has the value 6"),
    ],
)
def test_unknown_kinds_are_refused_by_name(write_gguf: WriteGguf, change: dict[str, object], message: str) -> None:
    vocabulary = read_vocabulary(write_gguf(**change))
    with pytest.raises(BuildError, match=message):
        make_tokenizer(vocabulary)


_OTHERS = (("<think>", 4), ("[PAD4]", 5), ("  é ", 4), ("<|eot_id|>", 5))


def test_user_defined_tokens_are_matched_whole_and_visible_and_unused_ones_are_holes(
    write_gguf: WriteGguf, tmp_path: Path
) -> None:
    vocabulary = read_vocabulary(write_gguf(others=_OTHERS))
    tokenizer = make_tokenizer(vocabulary)
    ids = tokenizer.encode("<|im_end|><think>hell<think>").ids
    assert ids[:2] == [2, 3]
    assert tokenizer.decode(ids) == "<think>hell<think>"
    for hole in (4, 6):
        assert tokenizer.id_to_token(hole) is None
    assert tokenizer.id_to_token(7) == min(ByteLevel.alphabet()), "the ids after a hole stay"
    assert tokenizer.token_to_id("hell") == len(vocabulary.tokens) - 1
    assert vocabulary.stop_token_ids == (2, 0), "a hole ends nothing"
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    served = Vocabulary.load(tmp_path / "tokenizer.json")
    assert [served.bytes_of(id_) for id_ in (2, 3, 4, 5)] == [b"", b"<think>", b"", "  é ".encode()]
    assert PromptTokenizer(tmp_path / "tokenizer.json").vocabulary_size == len(vocabulary.tokens) == len(served)


def test_openvinos_tokenizer_has_the_same_holes(write_gguf: WriteGguf, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(read_vocabulary(write_gguf(others=_OTHERS[:2])))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_tokenizer_ir(tmp_path / "tokenizer.json", tmp_path, [2])
    assert check_against_openvino(tokenizer, tmp_path) > 390


@pytest.mark.parametrize(("eos", "others"), [(999, ()), (3, (("[PAD3]", 5),))])
def test_the_end_is_a_token(write_gguf: WriteGguf, eos: int, others: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(CheckpointError, match=f"eos_token_id {eos} is no token"):
        read_vocabulary(write_gguf(eos=eos, others=others))


@pytest.mark.parametrize("end", [-1, 2**31 - 1], ids=["none", "beyond the tokens"])
def test_further_ends_that_are_no_tokens_are_passed_over(write_gguf: WriteGguf, end: int) -> None:
    named = {"eot_token_id": (end, Field.INT32), "eom_token_id": (1, Field.INT32)}
    assert read_vocabulary(write_gguf(fields=named)).stop_token_ids == (2, 1, 0)


@pytest.mark.parametrize("merge", ["he", "h e l", "h zz", "e h"])
def test_a_merge_is_of_two_tokens_and_makes_a_third(write_gguf: WriteGguf, merge: str) -> None:
    with pytest.raises(CheckpointError, match=rf"tokenizer.ggml.merges has '{merge}', expected two tokens"):
        read_vocabulary(write_gguf(merges=("h e", merge)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("eos_token_id", "an integer"), ("eot_token_id", "an integer"), ("pre", "a text")),
        *(("tokens", "a list"), ("token_type", "a list"), ("merges", "a list")),
    ],
)
def test_a_field_of_another_kind_is_named(write_gguf: WriteGguf, name: str, expected: str) -> None:
    wrong = (7, Field.INT32) if expected == "a text" else ("x", Field.STRING)
    with pytest.raises(CheckpointError, match=rf"tokenizer.ggml.{name} is {wrong[0]!r}, expected {expected}"):
        read_vocabulary(write_gguf(fields={name: wrong}))


@pytest.mark.parametrize("pre", ["llama-bpe", "llama3", "llama-v3"])
def test_llama_3s_rules_have_several_names(write_gguf: WriteGguf, pre: str) -> None:
    words = make_tokenizer(read_vocabulary(write_gguf(pre=pre))).pre_tokenizer.pre_tokenize_str("1234")
    assert [word for word, _ in words] == ["123", "4"]


def test_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"bare.gguf has no field tokenizer.ggml.tokens"):
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
