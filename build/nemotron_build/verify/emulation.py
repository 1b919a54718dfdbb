"""A converted checkpoint as a PyTorch model that computes what an FP8 engine computes, on any device.

Imports torch and transformers, so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from nemotron_build.checkpoint.llama import check_rope, llama_config
from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.checkpoint.tensors import OUTPUT, expected_tensors, load_tensor
from nemotron_build.verify.expected import Converted
from nemotron_build.verify.tensors_and_scales import dequantized

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.steps import Report

_ATTENTION = "nemotron_build_emulation"
_KV_SCALES = "emulated_kv_scales"
_LARGEST = torch.finfo(torch.float8_e4m3fn).max


def source_model(source: Checkpoint, device: torch.device, report: Report) -> Any:
    """The source in the dtype that `compute_dtype` names."""
    model = _empty_model(source.shape, device)
    names = expected_tensors(source.shape)
    for done, name in enumerate(names):
        report("loading the source", done, len(names))
        model.get_parameter(name).copy_(_tensor(load_tensor(source.tensors[name])))
    report("loading the source", len(names), len(names))
    return model


def converted_model(converted: Converted, device: torch.device, report: Report) -> Any:
    """The converted checkpoint: its weights times their scales, and its inputs and KV cache rounded to E4M3."""
    model = _empty_model(converted.shape, device)
    for done, weight in enumerate(converted.weights):
        report("loading the converted checkpoint", done, len(converted.weights))
        values = load_tensor(converted.ranks[weight.rank][weight.name])
        scale = converted.weight_scale(weight)
        for piece in weight.pieces:
            # A tied output layer that is written out is made of the embedding.
            name = OUTPUT if weight.name == OUTPUT else piece.source
            model.get_parameter(name)[piece.part].copy_(_tensor(values[piece.rows], scale))
            # The ranks' inputs have one scale (see `check_scales`), and the model one layer.
            if weight.input_scale is not None and weight.rank == 0:
                module = model.get_submodule(name.removesuffix(".weight"))
                module.register_forward_pre_hook(_rounding_hook(converted.scalar(0, weight.input_scale)))
    report("loading the converted checkpoint", len(converted.weights), len(converted.weights))
    _set_kv_scales(model, converted)
    return model


def compute_dtype(device: torch.device) -> torch.dtype:
    """BF16 on a GPU, as the engine computes. On CPUs float32, since many are slow in BF16."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def rounded(tensor: Tensor, scale: float) -> Tensor:
    """What is left of a tensor that is stored in E4M3 with this scale: saturated, then rounded."""
    codes = (tensor.float() / scale).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn)
    return (codes.float() * scale).to(tensor.dtype)


def _empty_model(shape: ModelShape, device: torch.device) -> Any:
    config = llama_config(shape, attn_implementation=_ATTENTION)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(compute_dtype(device)).to_empty(device=device)
    # `to_empty` parts what is tied, and leaves the frequencies, which are no parameter, without values.
    model.tie_weights()
    model.model.rotary_emb = LlamaRotaryEmbedding(config).to(device)
    check_rope(model, shape)
    model.requires_grad_(False)
    return model.eval()


def _tensor(values: NDArray[Any], scale: float | None = None) -> Tensor:
    return torch.from_numpy(dequantized(values, scale))


def _rounding_hook(scale: float) -> Callable[[Any, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    return lambda _module, inputs: (rounded(inputs[0], scale), *inputs[1:])


def _set_kv_scales(model: Any, converted: Converted) -> None:
    scales: dict[int, list[float]] = {}
    for scale in converted.kv_scales:
        of_layer = scales.setdefault(scale.layer, [1.0, 1.0])
        value = converted.scalar(scale.rank, scale.name)
        if scale.keys:
            of_layer[0] = value
        if scale.values:
            of_layer[1] = value
    for layer, both in scales.items():
        setattr(model.model.layers[layer].self_attn, _KV_SCALES, both)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, **_: object
) -> tuple[Tensor, None]:
    """Causal attention over whole texts, its keys (after rope) and values as they come out of an FP8 KV cache."""
    scales = getattr(module, _KV_SCALES, None)
    if scales is not None:
        key, value = rounded(key, scales[0]), rounded(value, scales[1])
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=module.scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(_ATTENTION, _attention)
