"""Both formats, with ModelOpt run for real: the weights and scales are its own, and the configs the source's."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from nemotron_build.checkpoint.shape import ModelShape, read_shape
from nemotron_build.checkpoint.tensors import read_tensors
from nemotron_build.checkpoint.weights import SourceTensors
from nemotron_build.convert.fp8 import Scales, measure_scales
from nemotron_build.convert.trtllm_checkpoint import rank_part, target_tensors, write_trtllm_checkpoint
from nemotron_build.convert.unified_checkpoint import write_unified_checkpoint
from nemotron_build.errors import CheckpointError
from tests.quantize.modelopt import fp8_with_kv_cache
from tests.unit.build.tiny import random_weights, tiny_checkpoint, write_json, write_weights

TEXTS = ("What is the capital of France?", "The river rises and the boats are tied to the trees.")
Tensors = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A tiny checkpoint, what was measured on it, and what ModelOpt's own exporters make of it."""

    path: Path
    shape: ModelShape
    tensors: SourceTensors
    scales: Scales
    modelopt_trtllm: Callable[[int], list[Tensors]]
    modelopt_unified: Tensors


def _silent(*_: object) -> None:
    pass


def _prompts(path: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    return [tokenizer.encode(text).ids for text in TEXTS]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tiny_checkpoint(tmp_path_factory.mktemp("source"), shards=2)
    shape = read_shape(path)
    scales = measure_scales(path, shape, _prompts(path), weights=True, kv_cache=True, report=_silent)
    model, unified = _modelopt(path, tmp_path_factory.mktemp("unified"))

    def trtllm(tp_size: int) -> list[Tensors]:
        from modelopt.torch.export import export_tensorrt_llm_checkpoint

        directory = tmp_path_factory.mktemp("trtllm")
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export_tensorrt_llm_checkpoint(
                model, "llama", torch.bfloat16, directory, tp_size, inference_pipeline_parallel=1
            )
        return [load_file(directory / f"rank{rank}.safetensors") for rank in range(tp_size)]

    return Source(path, shape, SourceTensors(path, shape), scales, trtllm, unified)


def _modelopt(path: Path, directory: Path) -> tuple[Any, Tensors]:
    """ModelOpt's documented way from a model to an export, the reference for ours."""
    import modelopt.torch.quantization as mtq
    from modelopt.torch.export import export_hf_checkpoint
    from transformers import LlamaForCausalLM

    def read(model: Any) -> None:
        for ids in _prompts(path):
            model(torch.tensor([ids]))

    config = fp8_with_kv_cache(mtq)
    model = mtq.quantize(LlamaForCausalLM.from_pretrained(path, dtype=torch.bfloat16), config, read)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_hf_checkpoint(deepcopy(model), export_dir=directory)
    return model, load_file(directory / "model.safetensors")


def _equal(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        assert torch.equal(ours[name].float(), tensor.float()), name


def _trtllm(source: Source, directory: Path, scales: Scales, tp_size: int = 1) -> list[Tensors]:
    write_trtllm_checkpoint(source.tensors, source.shape, scales, directory, tp_size=tp_size, report=_silent)
    return [load_file(directory / f"rank{rank}.safetensors") for rank in range(tp_size)]


def _unified(source: Source, directory: Path, scales: Scales) -> Tensors:
    write_unified_checkpoint(source.path, source.tensors, source.shape, scales, directory, report=_silent)
    return {name: tensor for file in directory.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("tp_size", [1, 2])
def test_ranks_are_those_of_modelopt(source: Source, tmp_path: Path, tp_size: int) -> None:
    ours, theirs = _trtllm(source, tmp_path, source.scales, tp_size), source.modelopt_trtllm(tp_size)
    embedding = torch.cat([rank["transformer.vocab_embedding.weight"] for rank in theirs])
    for our_rank, their_rank in zip(ours, theirs, strict=True):
        their_rank["transformer.vocab_embedding.weight"] = embedding  # ours is whole in every rank
        # Scales of keys and values alone: TensorRT-LLM reads the one of both, and ignores these where it is there.
        alone = [name for name in their_rank if re.search("attention.[kv]_cache_scaling_factor", name)]
        _equal(our_rank, {name: tensor for name, tensor in their_rank.items() if name not in alone})


def test_unified_scales_are_those_of_modelopt(source: Source, tmp_path: Path) -> None:
    ours, theirs = _unified(source, tmp_path, source.scales), source.modelopt_unified
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape), name
        if name.endswith(("input_scale", "norm.weight", "embed_tokens.weight", "lm_head.weight")):
            assert torch.equal(ours[name], tensor), name
        if name.endswith(("k_scale", "v_scale")):  # ModelOpt 0.37 does not go below 1 either
            assert torch.equal(ours[name], tensor.clamp(min=1)), name
    # ModelOpt leaves those of q, k, v and of gate, up apart; the PyTorch flow would round the weights again for that.
    for group in (("q", "k", "v"), ("gate", "up"), ("o",), ("down",)):
        for layer in range(source.shape.num_layers):
            prefix = f"model.layers.{layer}." + ("mlp" if group[0] in ("gate", "down") else "self_attn")
            names = [f"{prefix}.{name}_proj.weight_scale" for name in group]
            assert {ours[name].item() for name in names} == {max(theirs[name].item() for name in names)}


def test_both_formats_hold_the_same_fp8_values(source: Source, tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    unified = _unified(source, tmp_path / "unified", source.scales)
    (rank,) = _trtllm(source, tmp_path, source.scales)
    for target in target_tensors(source.shape):
        parts = [unified[name].float() for name in target.sources]
        assert torch.equal(rank[target.name].float(), torch.cat(parts)), target.name


def test_fp8_values_are_within_the_formats_error(source: Source, tmp_path: Path) -> None:
    unified = _unified(source, tmp_path, source.scales)
    for name, scale in source.scales.weights.items():
        weight = source.tensors.read(name).float()
        error = (unified[name].float() * scale - weight).abs()
        step = 2.0**-4  # of three mantissa bits, half the last; below 2**-6 the values are evenly spaced
        assert (error <= torch.maximum(step * weight.abs(), torch.tensor(2.0**-10 * scale))).all(), name


def test_scales_are_finite_and_positive(source: Source) -> None:
    scales = source.scales
    linears = 7 * source.shape.num_layers
    assert len(scales.weights) == len(scales.inputs) == linears
    assert len(scales.keys) == len(scales.values) == source.shape.num_layers
    for values in (scales.weights.values(), scales.inputs.values(), scales.keys, scales.values):
        assert all(math.isfinite(value) and value > 0 for value in values)


def test_measuring_again_gives_the_same(source: Source) -> None:
    again = measure_scales(
        source.path, source.shape, _prompts(source.path), weights=True, kv_cache=True, report=_silent
    )
    assert again == source.scales


def test_the_config_is_the_sources(source: Source, tmp_path: Path) -> None:
    _trtllm(source, tmp_path, source.scales, 2)
    config = json.loads((tmp_path / "config.json").read_text())
    theirs = json.loads((source.path / "config.json").read_text())
    same = {
        "vocab_size": "vocab_size",
        "hidden_size": "hidden_size",
        "intermediate_size": "intermediate_size",
        "num_hidden_layers": "num_hidden_layers",
        "num_attention_heads": "num_attention_heads",
        "num_key_value_heads": "num_key_value_heads",
        "max_position_embeddings": "max_position_embeddings",
        "norm_epsilon": "rms_norm_eps",
        "rotary_base": "rope_theta",
        "rotary_scaling": "rope_scaling",
        "tie_word_embeddings": "tie_word_embeddings",
        "hidden_act": "hidden_act",
        "dtype": "torch_dtype",
        "attn_bias": "attention_bias",
        "mlp_bias": "mlp_bias",
    }
    assert {name: config[name] for name in same} == {name: theirs[source] for name, source in same.items()}
    assert config["architecture"] == "LlamaForCausalLM"
    assert config["head_size"] == config["rotary_embedding_dim"] == 16
    assert config["mapping"] == {"world_size": 2, "tp_size": 2, "pp_size": 1}
    assert config["quantization"] == {
        "quant_algo": "FP8",
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
    }


def test_the_unified_checkpoint_is_the_source_plus_quantization(source: Source, tmp_path: Path) -> None:
    _unified(source, tmp_path, source.scales)
    config = json.loads((tmp_path / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((source.path / "config.json").read_text())
    assert (quantization["quant_method"], quantization["quant_algo"]) == ("modelopt", "FP8")
    assert quantization["ignore"] == ["lm_head"]
    assert json.loads((tmp_path / "hf_quant_config.json").read_text())["quantization"] == {
        "quant_algo": "FP8",
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
    }
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / name).read_bytes() == (source.path / name).read_bytes()
    assert set(read_tensors(tmp_path)) == set(source.modelopt_unified)  # index and shards agree


def test_bf16_is_the_source(source: Source, tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    unified = _unified(source, tmp_path / "unified", Scales())
    assert unified.keys() == source.tensors.records.keys()
    assert all(torch.equal(tensor, source.tensors.read(name)) for name, tensor in unified.items())
    assert json.loads((tmp_path / "unified" / "config.json").read_text()) == json.loads(
        (source.path / "config.json").read_text()
    )
    assert not (tmp_path / "unified" / "hf_quant_config.json").exists()
    (rank,) = _trtllm(source, tmp_path, Scales())
    assert rank.keys() == {target.name for target in target_tensors(source.shape)}
    assert all(tensor.dtype == torch.bfloat16 for tensor in rank.values())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["quantization"] == {"quant_algo": None, "kv_cache_quant_algo": None, "exclude_modules": None}


def test_fp8_kv_cache_beside_bf16_weights(source: Source, tmp_path: Path) -> None:
    scales = measure_scales(
        source.path, source.shape, _prompts(source.path), weights=False, kv_cache=True, report=_silent
    )
    assert not scales.weights
    (rank,) = _trtllm(source, tmp_path, scales)
    assert rank["transformer.layers.0.attention.qkv.weight"].dtype == torch.bfloat16
    assert rank["transformer.layers.2.attention.kv_cache_scaling_factor"].item() == 1.0
    assert json.loads((tmp_path / "config.json").read_text())["quantization"]["kv_cache_quant_algo"] == "FP8"


def test_a_tied_model_without_rope_scaling_in_the_new_spelling(tmp_path: Path) -> None:
    path = tiny_checkpoint(tmp_path / "source", tie=True, rope_scaling=False)
    config = json.loads((path / "config.json").read_text())
    del config["rope_scaling"], config["torch_dtype"]
    config |= {"rope_parameters": {"rope_type": "default", "rope_theta": config.pop("rope_theta")}, "dtype": "bfloat16"}
    write_json(path / "config.json", config)
    shape = read_shape(path)
    tensors = SourceTensors(path, shape)
    output = tmp_path / "unified"
    output.mkdir()
    write_unified_checkpoint(path, tensors, shape, Scales(), output, report=_silent)
    written = json.loads((output / "config.json").read_text())
    assert read_shape(output) == shape
    assert (written["rope_theta"], written["rope_scaling"], written["torch_dtype"]) == (500000.0, None, "bfloat16")
    assert not {"rope_parameters", "dtype"} & written.keys()
    write_trtllm_checkpoint(tensors, shape, Scales(), tmp_path, tp_size=2, report=_silent)
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    assert torch.equal(torch.cat([rank["lm_head.weight"] for rank in ranks]), tensors.read("model.embed_tokens.weight"))
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["tie_word_embeddings"], written["rotary_scaling"]) == (True, None)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, "met values that are not finite"),
        (math.inf, "met values that are not finite"),
        (0.0, r"saw 0\.0 as the largest value of model\.layers\.1\.mlp\.up_proj's weight"),
    ],
)
def test_damaged_weights_give_no_scales(tmp_path: Path, value: float, says: str) -> None:
    path = tiny_checkpoint(tmp_path, layers=2)
    weights = random_weights(path, 0)
    weights["model.layers.1.mlp.up_proj.weight"][:] = value
    write_weights(path, weights)
    with pytest.raises(CheckpointError, match=f"{says}.*--scan-values"):
        measure_scales(path, read_shape(path), _prompts(path), weights=True, kv_cache=False, report=_silent)


def test_the_pieces_of_all_ranks_are_the_whole() -> None:
    whole = torch.arange(24).reshape(4, 6)
    for axis in (0, 1):
        assert torch.equal(torch.cat([rank_part(whole, axis, rank, 2) for rank in range(2)], axis), whole)
    assert rank_part(whole, None, 1, 2) is whole
