"""config.json in its spellings, what it must not say, and what follows from it: GPUs to divide among, frequencies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nemotron_build.checkpoint.shape import (
    LLAMA_31_8B,
    ModelShape,
    RopeScaling,
    check_tp_size,
    inverse_frequencies,
    read_shape,
    tp_sizes,
)
from nemotron_build.errors import CheckpointError, UnsupportedError
from tests.unit.build.checkpoint.conftest import EditJson
from tests.unit.build.tiny import write_json

_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_8B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}


def test_sizes_of_the_8b() -> None:
    assert LLAMA_31_8B.parameters == 8_030_261_248
    assert LLAMA_31_8B.parameters * 2 / 1e9 == pytest.approx(16.06, abs=0.005)
    assert LLAMA_31_8B.kv_bytes_per_token(2) == 128 * 1024
    assert LLAMA_31_8B.kv_bytes_per_token(1) == 64 * 1024


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 500000.0, "rope_scaling": {**_LLAMA3, "rope_type": "llama3"}, "torch_dtype": "bfloat16"},
        {"rope_theta": 500000, "rope_scaling": {**_LLAMA3, "type": "llama3"}, "torch_dtype": "bfloat16"},
        {"rope_parameters": {**_LLAMA3, "rope_type": "llama3", "rope_theta": 500000.0}, "dtype": "bfloat16"},
    ],
    ids=["classic", "older", "transformers 5"],
)
def test_every_spelling_of_rope_is_the_same_shape(tmp_path: Path, spelling: dict[str, Any]) -> None:
    write_json(tmp_path / "config.json", _8B | spelling)
    assert read_shape(tmp_path) == LLAMA_31_8B


def test_tied_embeddings_count_once() -> None:
    tied = replace(LLAMA_31_8B, tie_word_embeddings=True)
    assert LLAMA_31_8B.parameters - tied.parameters == 128256 * 4096


def test_what_llama_2_leaves_out(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", rope_theta=None, rope_scaling=None, num_key_value_heads=None)
    shape = read_shape(checkpoint)
    assert (shape.rope_theta, shape.rope_scaling, shape.num_kv_heads) == (10000.0, None, 8)


def test_scaling_of_another_factor(checkpoint: Path, edit: EditJson) -> None:
    edit("config.json", rope_scaling={**_LLAMA3, "rope_type": "llama3", "factor": 4})
    assert read_shape(checkpoint).rope_scaling == RopeScaling(4.0, 1.0, 4.0, 8192)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "architectures is ['MistralForCausalLM']"),
        ({"model_type": "deci"}, "model_type 'deci', expected ['LlamaForCausalLM'] and 'llama'"),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "auto_map asks for code"),
        ({"hidden_size": None}, "missing required field `hidden_size`"),
        ({"hidden_size": "wide"}, "Expected `int`, got `str`"),
        ({"vocab_size": 0}, "vocab_size is 0, expected more than 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected at most 10000"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3 does not divide num_attention_heads 8"),
        ({"hidden_size": 130}, "num_attention_heads 8 does not divide hidden_size 130"),
        ({"head_dim": 15}, "head_dim is 15, expected an even number"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; only checkpoints with 'silu'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"rope_theta": -1}, "rope_theta is -1"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rope_type is 'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "rope scaling 'llama3' cannot be used"),
        ({"rope_scaling": {**_LLAMA3, "rope_type": "llama3", "factor": 0}}, "factor is 0"),
        ({"rope_scaling": {**_LLAMA3, "rope_type": "llama3", "high_freq_factor": 1}}, "high_freq_factor is 1"),
    ],
    ids=str,
)
def test_refused(checkpoint: Path, edit: EditJson, fields: dict[str, Any], said: str) -> None:
    edit("config.json", **fields)
    with pytest.raises(CheckpointError) as refused:
        read_shape(checkpoint)
    message = str(refused.value)
    assert message.startswith(str(checkpoint / "config.json"))
    assert said in message
    assert "\n" not in message


def test_another_architecture_is_named_before_its_missing_fields(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768})
    with pytest.raises(CheckpointError, match=r"GPT2LMHeadModel.*Only Llama"):
        read_shape(tmp_path)


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json is missing. Name the directory"):
        read_shape(tmp_path)


def test_config_cut_short(checkpoint: Path) -> None:
    path = checkpoint / "config.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(CheckpointError, match=r"cannot be used.*Download it again"):
        read_shape(checkpoint)


@pytest.mark.parametrize(
    ("shape", "tp_size", "named"),
    [
        (LLAMA_31_8B, 16, "8 KV heads"),
        (replace(LLAMA_31_8B, num_heads=36, num_kv_heads=36), 8, "36 heads"),
        (replace(LLAMA_31_8B, intermediate_size=14337), 2, "14337 rows of its MLP"),
        (replace(LLAMA_31_8B, vocab_size=128257), 2, "128257 tokens"),
    ],
)
def test_an_uneven_split_is_refused_by_name(shape: ModelShape, tp_size: int, named: str) -> None:
    with pytest.raises(UnsupportedError, match=f"tp_size {tp_size} does not divide the model's .*{named}.*Use one of"):
        check_tp_size(shape, tp_size)


def test_the_8b_splits_evenly() -> None:
    assert tp_sizes(LLAMA_31_8B) == [1, 2, 4, 8]
    for tp_size in tp_sizes(LLAMA_31_8B):
        check_tp_size(LLAMA_31_8B, tp_size)


def test_fast_ones_stay_and_slow_ones_are_slowed() -> None:
    plain = inverse_frequencies(replace(LLAMA_31_8B, rope_scaling=None))
    scaled = inverse_frequencies(LLAMA_31_8B)
    assert plain[0] == scaled[0] == 1
    assert plain[-1] / scaled[-1] == pytest.approx(8)
    assert np.all(np.diff(scaled) < 0)
