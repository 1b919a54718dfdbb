"""How a TensorRT-LLM checkpoint calls a Llama's tensors, what they are made of, and how tensor parallelism splits them.

The names are those of TensorRT-LLM's `ModelWeightsLoader`; it calls gate_proj `fc` and up_proj `gate`. The split axes
are those of its column-parallel (rows of the weight) and row-parallel (columns) linear layers. A tied output layer is
written out, so that no version has to share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT

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
        shape: Of the source.
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
