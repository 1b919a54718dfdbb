"""Writing a TensorRT-LLM checkpoint, the input of trtllm-build: config.json and one safetensors file a rank."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.checkpoint.shape import ARCHITECTURE, CONFIG, ModelShape
from nemotron_build.convert.fp8 import scale_tensor, to_fp8
from nemotron_build.convert.measured_scales import Scales
from nemotron_build.convert.torch_tensors import SourceTensors
from nemotron_build.convert.trtllm_names import TargetTensor, kv_scale, rank_file, rank_part, target_tensors
from nemotron_build.json_file import write_json
from nemotron_build.steps import Report
from nemotron_serving import __version__

if TYPE_CHECKING:
    from torch import Tensor


def write_trtllm_checkpoint(
    source: SourceTensors, shape: ModelShape, scales: Scales, output: Path, *, tp_size: int, report: Report
) -> None:
    """Write config.json and rank0.safetensors … into `output`.

    Args:
        source: The weights.
        shape: The source's shape.
        scales: Which weights become FP8, and how; empty for BF16.
        output: An empty directory.
        tp_size: Ranks; it has to divide the shape (`check_tp_size`).
        report: Hears of every tensor.
    """
    from safetensors.torch import save_file

    targets = target_tensors(shape)
    for rank in range(tp_size):
        tensors: dict[str, Tensor] = {}
        for target in targets:
            report("Converting, tensor", rank * len(targets) + len(tensors), tp_size * len(targets))
            tensors |= _tensors(target, source, scales, rank, tp_size)
        tensors |= _kv_scales(scales)
        save_file(tensors, output / rank_file(rank), {"format": "pt"})
    report("Converting, tensor", tp_size * len(targets), tp_size * len(targets))
    write_json(output / CONFIG, trtllm_config(shape, scales, tp_size))


def trtllm_config(shape: ModelShape, scales: Scales, tp_size: int) -> dict[str, Any]:
    """config.json, with the fields of TensorRT-LLM 1.2's `LLaMAConfig` as its `from_hugging_face` fills them."""
    scaling = shape.rope_scaling
    return {
        "producer": {"name": "nemotron-triton", "version": __version__},
        "architecture": ARCHITECTURE,
        "dtype": "bfloat16",
        "logits_dtype": "float32",
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_size": shape.head_dim,
        "qk_layernorm": False,
        "hidden_act": "silu",
        "intermediate_size": shape.intermediate_size,
        "norm_epsilon": shape.rms_norm_eps,
        "position_embedding_type": "rope_gpt_neox",
        "rotary_base": shape.rope_theta,
        "rotary_scaling": {**asdict(scaling), "rope_type": "llama3"} if scaling else None,
        "rotary_embedding_dim": shape.head_dim,
        "attn_bias": False,
        "mlp_bias": False,
        "residual_mlp": False,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "use_parallel_embedding": False,
        "embedding_sharding_dim": 0,
        "mapping": {"world_size": tp_size, "tp_size": tp_size, "pp_size": 1},
        "quantization": {
            "quant_algo": "FP8" if scales.weights else None,
            "kv_cache_quant_algo": "FP8" if scales.keys else None,
            "exclude_modules": ["lm_head"] if scales.weights else None,
        },
    }


def _tensors(target: TargetTensor, source: SourceTensors, scales: Scales, rank: int, tp_size: int) -> dict[str, Tensor]:
    import torch

    parts = [rank_part(source.read(name), target.split_axis, rank, tp_size) for name in target.sources]
    weight = torch.cat(parts).contiguous()
    if not (target.quantized and scales.weights):
        return {target.name: weight}
    first = target.sources[0]  # the others share its scales
    return {
        target.name: to_fp8(weight, scales.weights[first]),
        target.weight_scale: scale_tensor(scales.weights[first]),
        target.activation_scale: scale_tensor(scales.inputs[first]),
    }


def _kv_scales(scales: Scales) -> dict[str, Tensor]:
    """One scale for keys and values of a layer."""
    return {
        kv_scale(layer): scale_tensor(max(key, value))
        for layer, (key, value) in enumerate(zip(scales.keys, scales.values, strict=True))
    }
