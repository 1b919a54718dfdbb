"""A field of the converted config that is not the source's is named, with what it says and what it has to say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from nemotron_build.checkpoint.check import Checkpoint
from nemotron_build.errors import VerificationError
from tests.quantize.verify.conftest import Planted

Plant = Callable[..., Planted]
Change = Callable[[dict[str, Any]], object]


def setting(field: str, value: object) -> Change:
    """A change of one field, named with dots."""

    def change(config: dict[str, Any]) -> None:
        *outer, last = field.split(".")
        for name in outer:
            config = config[name]
        assert config[last] != value
        config[last] = value

    return change


def without(field: str) -> Change:
    return lambda config: config.pop(field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("rotary_base", 10000.0), "rotary_base is 10000.0, expected 500000.0"),
        (without("rotary_base"), "rotary_base is missing, which means 10000.0, expected 500000.0"),
        (without("rotary_scaling"), "rotary_scaling is missing, which means None, expected 'llama3'"),
        (setting("rotary_scaling", None), "rotary_scaling is missing"),
        (setting("rotary_scaling.factor", 4.0), "rotary_scaling.factor is 4.0, expected 8.0"),
        (setting("rotary_scaling.original_max_position_embeddings", 8192), "embeddings is 8192, expected 64"),
        (setting("rotary_scaling", {"factor": 8.0, "type": "linear"}), "rotary_scaling is of type 'linear'"),
        (setting("rotary_scaling", {"rope_type": "llama3"}), "embeddings is 8192, expected 64"),
        (setting("rotary_embedding_dim", 8), "rotary_embedding_dim is 8, expected 16"),
        (setting("num_key_value_heads", 8), "num_key_value_heads is 8, expected 2"),
        (without("num_key_value_heads"), "num_key_value_heads is missing, which means 8, expected 2"),
        (setting("num_attention_heads", 4), "num_attention_heads is 4, expected 8"),
        (setting("head_size", 32), "head_size is 32, expected 16"),
        (setting("hidden_size", 64), "hidden_size is 64, expected 128"),
        (setting("intermediate_size", 512), "intermediate_size is 512, expected 384"),
        (setting("num_hidden_layers", 2), "num_hidden_layers is 2, expected 3"),
        (setting("vocab_size", 500), "vocab_size is 500, expected 512"),
        (setting("max_position_embeddings", 64), "max_position_embeddings is 64, expected 512"),
        (setting("norm_epsilon", 1e-6), "norm_epsilon is 1e-06, expected 1e-05"),
        (without("hidden_act"), "hidden_act is missing, which means 'gelu', expected 'silu'"),
        (setting("dtype", "float16"), "dtype is 'float16', expected 'bfloat16'"),
        (setting("position_embedding_type", "rope_gptj"), "position_embedding_type is 'rope_gptj'"),
        (without("position_embedding_type"), "position_embedding_type is missing, which means 'learned_absolute'"),
        (setting("attn_bias", True), "attn_bias is True, expected False"),
        (setting("tie_word_embeddings", True), "tie_word_embeddings is True, expected False"),
        (lambda config: config.update(share_embedding_table=True), "share_embedding_table is True, expected False"),
        (setting("mapping.tp_size", 1), "mapping.tp_size is 1, expected 2. Convert it again with this profile"),
        (without("mapping"), "mapping.tp_size is missing, which means 1, expected 2"),
        (setting("mapping.pp_size", 2), "mapping.pp_size is 2, expected 1"),
        (setting("mapping.world_size", 4), "mapping.world_size is 4, expected 2"),
        (setting("quantization.quant_algo", None), "quantization.quant_algo is None, expected 'FP8'"),
        (setting("quantization.quant_algo", "W8A16"), "quantization.quant_algo is 'W8A16', expected 'FP8'"),
        (
            setting("quantization.kv_cache_quant_algo", "FP8"),
            "quantization.kv_cache_quant_algo is 'FP8', expected None",
        ),
        (setting("quantization.exclude_modules", []), "quantization.exclude_modules is [], expected ['lm_head']"),
        (setting("quantization.exclude_modules", ["*"]), "quantization.exclude_modules is ['transformer.layers.0."),
        (setting("architecture", "FalconForCausalLM"), "architecture is 'FalconForCausalLM'"),
        (without("dtype"), "config.json cannot be used"),
        (setting("vocab_size", "many"), "config.json cannot be used"),
    ],
)
def test_tensorrt_llm(plant: Plant, change: Change, message: str) -> None:
    planted = plant("trt")
    planted.edit_json(change)
    with pytest.raises(VerificationError, match=re.escape(message)):
        planted.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("rope_theta", 10000.0), "rope_theta is 10000.0, expected 500000.0"),
        (without("rope_theta"), "rope_theta is 10000.0, expected 500000.0"),
        (setting("rope_scaling", None), "rope_scaling is None, expected 'llama3'"),
        (without("rope_scaling"), "rope_scaling is missing, which means None, expected 'llama3'"),
        (setting("rope_scaling.factor", 4.0), "rope_scaling.factor is 4.0, expected 8.0"),
        (setting("num_key_value_heads", 8), "num_key_value_heads is 8, expected 2"),
        (setting("num_hidden_layers", 2), "num_hidden_layers is 2, expected 3"),
        (setting("rms_norm_eps", 1e-6), "rms_norm_eps is 1e-06, expected 1e-05"),
        (setting("tie_word_embeddings", True), "tie_word_embeddings is True, expected False"),
        (setting("hidden_act", "gelu"), "hidden_act is 'gelu'"),
        (setting("torch_dtype", "float16"), "dtype is 'float16', expected 'bfloat16'"),
        (setting("quantization_config.quant_algo", "INT8"), "quantization_config.quant_algo is 'INT8', expected 'FP8'"),
        (without("quantization_config"), "quantization_config.quant_algo is missing, which means None, expected 'FP8'"),
    ],
)
def test_hugging_face(plant: Plant, change: Change, message: str) -> None:
    planted = plant("hf")
    planted.edit_json(change)
    with pytest.raises(VerificationError, match=re.escape(message)):
        planted.verify()


def test_rope_that_transformers_4_does_not_see_is_as_good_as_dropped(plant: Plant) -> None:
    def spell_as_transformers_5(config: dict[str, Any]) -> None:
        config["rope_parameters"] = {"rope_theta": config.pop("rope_theta"), **config.pop("rope_scaling")}

    planted = plant("hf")
    planted.edit_json(spell_as_transformers_5)
    with pytest.raises(
        VerificationError, match=r"rope_theta is missing, which means 10000.0, .* beside rope_parameters"
    ):
        planted.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("quantization.quant_algo", "NVFP4"), "quantization.quant_algo is 'NVFP4', expected 'FP8'"),
        (setting("quantization.kv_cache_quant_algo", "FP8"), "kv_cache_quant_algo is 'FP8', expected None"),
        (setting("quantization.exclude_modules", []), "exclude_modules is [], expected ['lm_head']"),
    ],
)
def test_hf_quant_config(plant: Plant, change: Change, message: str) -> None:
    planted = plant("hf")
    planted.edit_json(change, "hf_quant_config.json")
    with pytest.raises(VerificationError, match=re.escape(message)):
        planted.verify()


def test_without_hf_quant_config_the_weights_would_be_read_as_bf16(plant: Plant) -> None:
    planted = plant("hf")
    (planted.directory / "hf_quant_config.json").unlink()
    with pytest.raises(VerificationError, match=r"hf_quant_config.json: quantization.quant_algo is missing"):
        planted.verify()


def test_a_source_without_rope_scaling_must_not_get_one(plant: Plant, tied_source: Checkpoint) -> None:
    planted = plant("trt-bf16", tied_source)
    planted.edit_json(setting("rotary_scaling", {"rope_type": "llama3"}))
    with pytest.raises(VerificationError, match="rotary_scaling is 'llama3', expected None"):
        planted.verify()


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_config_that_is_no_json_object(plant: Plant, content: str) -> None:
    planted = plant("trt")
    (planted.directory / "config.json").write_text(content)
    with pytest.raises(VerificationError, match=r"config\.json cannot be read: .* Convert the checkpoint again"):
        planted.verify()


def test_a_directory_without_a_config(plant: Plant) -> None:
    planted = plant("hf")
    (planted.directory / "config.json").unlink()
    with pytest.raises(VerificationError, match=r"config\.json is missing"):
        planted.verify()
