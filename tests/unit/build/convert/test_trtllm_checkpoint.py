"""The table of names: complete."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.checkpoint.tensors import expected_tensors
from nemotron_build.convert.trtllm_checkpoint import target_tensors

SMALL = replace(LLAMA_31_8B, num_layers=2)


def test_every_source_tensor_is_used_once() -> None:
    used = Counter(name for target in target_tensors(SMALL) for name in target.sources)
    assert used == Counter(list(expected_tensors(SMALL)))


def test_a_tied_output_layer_is_the_embedding() -> None:
    targets = {target.name: target for target in target_tensors(replace(SMALL, tie_word_embeddings=True))}
    assert targets["lm_head.weight"].sources == ("model.embed_tokens.weight",)


def test_fp8_is_for_the_linear_layers_of_the_layers() -> None:
    quantized = [target for target in target_tensors(SMALL) if target.quantized]
    sources = [name for target in quantized for name in target.sources]
    assert sorted(sources) == sorted(name for name in expected_tensors(SMALL) if "_proj" in name)
    assert quantized[0].weight_scale == "transformer.layers.0.attention.qkv.weights_scaling_factor"
    assert quantized[0].activation_scale == "transformer.layers.0.attention.qkv.activation_scaling_factor"
