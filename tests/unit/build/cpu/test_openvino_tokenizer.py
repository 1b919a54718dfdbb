"""OpenVINO's tokenizer files against tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from nemotron_build.byte_level import byte_level_bpe
from nemotron_build.cpu.openvino_tokenizer import check_against_openvino, write_tokenizer_ir
from nemotron_build.errors import CheckpointError, VerificationError
from nemotron_serving.output.detokenizer import byte_of_character
from tests.llama3 import llama3_tokenizer


def _write(tokenizer: Tokenizer, directory: Path, end: int) -> Path:
    tokenizer.save(str(directory / "tokenizer.json"))
    write_tokenizer_ir(directory / "tokenizer.json", directory, [end])
    return directory


def _smollm() -> Tokenizer:
    letters = list(byte_of_character())
    return byte_level_bpe(
        ["<|end|>", *letters, "he", "ll", "hell"], [("h", "e"), ("l", "l"), ("he", "ll")], ["<|end|>"]
    )


def test_llama_3s_tokenizer(tmp_path: Path) -> None:
    import openvino_genai

    tokenizer = llama3_tokenizer()
    _write(tokenizer, tmp_path, 128009)
    assert check_against_openvino(tokenizer, tmp_path) > 390
    assert openvino_genai.Tokenizer(tmp_path).get_eos_token_id() == 128009


def test_smollms_tokenizer(tmp_path: Path) -> None:
    assert check_against_openvino(_smollm(), _write(_smollm(), tmp_path, 0)) > 390


def test_another_tokenizer_is_noticed(tmp_path: Path) -> None:
    letters = list(byte_of_character())
    _write(byte_level_bpe(["<|end|>", *letters, "he"], [("h", "e")], ["<|end|>"]), tmp_path, 0)
    with pytest.raises(VerificationError, match=r"Token 258 is b'll' in tokenizer.json, None in OpenVINO's"):
        check_against_openvino(_smollm(), tmp_path)


def test_other_merges_are_noticed(tmp_path: Path) -> None:
    """The same tokens, but `world` is cut another way."""
    tokens, merges = ["<|end|>", *byte_of_character(), "or", "rl"], [("o", "r"), ("r", "l")]
    _write(byte_level_bpe(tokens, merges, ["<|end|>"]), tmp_path, 0)
    with pytest.raises(VerificationError, match=r"tokenizer.json encodes .*OpenVINO's tokenizer as"):
        check_against_openvino(byte_level_bpe(tokens, merges[::-1], ["<|end|>"]), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, "has a normalizer; only tokenizers without one"),
        ({"decoder": None}, "a BPE tokenizer; only byte-level BPE"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer Whitespace is not one of those known here"),
        ({"pre_tokenizer": None}, "has no pre-tokenizer"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(_smollm().to_str()), **change}))
    with pytest.raises(CheckpointError, match=message):
        write_tokenizer_ir(path, tmp_path, [0])
