"""A TensorRT-LLM checkpoint, the input of trtllm-build: config.json and one safetensors file a rank.

First what it calls a Llama's tensors, what they are made of, and how tensor parallelism splits them; then writing it.
The names are those of TensorRT-LLM's `ModelWeightsLoader`; it calls gate_proj `fc` and up_proj `gate`. The split axes
are those of its column-parallel (rows of the weight) and row-parallel (columns) linear layers. A tied output layer is
written out, so that no version has to share it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron_build.checkpoint.shape import ARCHITECTURE, CONFIG, ModelShape
from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT
from nemotron_build.checkpoint.weights import SourceTensors
from nemotron_build.convert.fp8 import Scales, scale_tensor, to_fp8
from nemotron_build.json_file import write_json
from nemotron_build.steps import Report
from nemotron_serving import __version__

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TargetTensor:
    """One weight of a TensorRT-LLM checkpoint.

    Attributes:
        name: Its name there, such as `transformer.layers.0.attention.qkv.weight`.
        sources: The tensors of the Hugging Face checkpoint that it is made of: each is split, then the pieces of one
            rank are concatenated along axis 0.
        split_axis: The axis that tensor parallelism splits each source along; None where every rank holds all of it.
        quantized: Whether it is in FP8 in an FP8 checkpoint, with a weight and an activation scale beside it.
    """

    name: str
    sources: tuple[str, ...]
    split_axis: int | None = None
    quantized: bool = False

    @property
    def weight_scale(self) -> str:
        """Name of the scale of an FP8 weight: float32, one value; weight = FP8 value * scale."""
        return self.name.removesuffix("weight") + "weights_scaling_factor"

    @property
    def activation_scale(self) -> str:
        """Name of the scale of an FP8 layer's input: float32, one value; input = FP8 value * scale."""
        return self.name.removesuffix("weight") + "activation_scaling_factor"


def target_tensors(shape: ModelShape, *, embedding_axis: int | None = None) -> list[TargetTensor]:
    """All weights of a TensorRT-LLM checkpoint of this shape. Every rank has all of these names.

    Args:
        shape: The source's shape.
        embedding_axis: The axis that the embedding is split along. It is not split where we or convert_checkpoint.py
            wrote it, and along its vocabulary where quantize.py did.
    """
    targets = [TargetTensor("transformer.vocab_embedding.weight", (EMBEDDING,), embedding_axis)]
    for number in range(shape.num_layers):
        targets += _layer(f"transformer.layers.{number}", f"model.layers.{number}")
    targets.append(TargetTensor("transformer.ln_f.weight", (FINAL_NORM,)))
    output = EMBEDDING if shape.tie_word_embeddings else OUTPUT
    targets.append(TargetTensor(OUTPUT, (output,), split_axis=0))
    return targets


def kv_scale(layer: int) -> str:
    """Name of the scale of a layer's FP8 KV cache: float32, one value for keys and values."""
    return f"transformer.layers.{layer}.attention.kv_cache_scaling_factor"


def rank_file(rank: int) -> str:
    """The file with the tensors of one rank."""
    return f"rank{rank}.safetensors"


def rank_part(tensor: Tensor, axis: int | None, rank: int, tp_size: int) -> Tensor:
    """What one rank holds of a source tensor: all of it, or the piece `rank` of `tp_size` equal ones along `axis`."""
    if axis is None:
        return tensor
    size = tensor.shape[axis] // tp_size
    return tensor.narrow(axis, rank * size, size)


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


def _layer(target: str, source: str) -> list[TargetTensor]:
    attention = tuple(f"{source}.self_attn.{name}_proj.weight" for name in "qkv")
    return [
        TargetTensor(f"{target}.input_layernorm.weight", (f"{source}.input_layernorm.weight",)),
        TargetTensor(f"{target}.attention.qkv.weight", attention, split_axis=0, quantized=True),
        TargetTensor(
            f"{target}.attention.dense.weight", (f"{source}.self_attn.o_proj.weight",), split_axis=1, quantized=True
        ),
        TargetTensor(f"{target}.post_layernorm.weight", (f"{source}.post_attention_layernorm.weight",)),
        TargetTensor(f"{target}.mlp.fc.weight", (f"{source}.mlp.gate_proj.weight",), split_axis=0, quantized=True),
        TargetTensor(f"{target}.mlp.gate.weight", (f"{source}.mlp.up_proj.weight",), split_axis=0, quantized=True),
        TargetTensor(f"{target}.mlp.proj.weight", (f"{source}.mlp.down_proj.weight",), split_axis=1, quantized=True),
    ]
