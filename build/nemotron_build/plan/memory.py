"""Where a GPU's memory goes: weights, activations, runtime, and the KV cache that takes the rest."""

from __future__ import annotations

from dataclasses import dataclass

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_serving.engine.tensorrt_llm.files import TOKENS_PER_BLOCK

KV_VALUE_BYTES = {"bf16": 2, "fp8": 1}
KV_SHARE = 0.9
"""Of the memory free after loading, what TensorRT-LLM takes for the KV cache where nothing else is said."""

_BF16_BYTES = 2
_FP32_BYTES = 4
_LINEAR_LAYERS = 7
# CUDA context, libraries' workspaces and NCCL: about what nvidia-smi shows for a process before it loads a model.
_RUNTIME_BYTES = 2**30
# The decoder keeps logits, probabilities and a sorted copy of them for every sequence of the batch.
_LOGIT_COPIES = 3


@dataclass(frozen=True)
class Footprint:
    """The memory of one GPU, in bytes; of several GPUs each has this.

    Attributes:
        total: What there is.
        weights: The model.
        activations: Intermediate results of a step of max_num_tokens tokens.
        runtime: CUDA, libraries, logits of max_batch_size sequences.
        kv_bytes_per_token: Of this GPU's share of the KV heads.
        kv_pool: The KV cache; 0 where the rest does not fit.
    """

    total: int
    weights: int
    activations: int
    runtime: int
    kv_bytes_per_token: int
    kv_pool: int

    @property
    def kv_pool_tokens(self) -> int:
        """Tokens that the KV cache holds, in whole blocks."""
        return self.kv_pool // (self.kv_bytes_per_token * TOKENS_PER_BLOCK) * TOKENS_PER_BLOCK

    def sequences(self, tokens: int) -> int:
        """How many sequences of so many tokens the KV cache holds at once, each in blocks of its own."""
        blocks = -(-tokens // TOKENS_PER_BLOCK)
        return self.kv_pool_tokens // TOKENS_PER_BLOCK // blocks


def footprint(
    shape: ModelShape,
    *,
    memory_bytes: int,
    precision: str,
    kv_cache: str,
    max_batch_size: int,
    max_num_tokens: int,
    tp_size: int = 1,
    kv_share: float = KV_SHARE,
) -> Footprint:
    """Divide a GPU's memory."""
    weights = gpu_weight_bytes(shape, precision, kv_cache, tp_size)
    activations = _activation_bytes(shape, max_num_tokens, tp_size)
    runtime = _RUNTIME_BYTES + _LOGIT_COPIES * _FP32_BYTES * max_batch_size * shape.vocab_size
    free = memory_bytes - weights - activations - runtime
    return Footprint(
        total=memory_bytes,
        weights=weights,
        activations=activations,
        runtime=runtime,
        kv_bytes_per_token=shape.kv_bytes_per_token(KV_VALUE_BYTES[kv_cache]) // tp_size,
        kv_pool=max(0, int(free * kv_share)),
    )


def gpu_weight_bytes(shape: ModelShape, precision: str, kv_cache: str = "bf16", tp_size: int = 1) -> int:
    """Bytes of the weights on each of `tp_size` GPUs.

    FP8 holds one byte for each weight of the linear layers; embedding, output layer and norms stay BF16. With tensor
    parallelism linear layers and the output layer are split, embedding and norms are on every GPU.
    """
    linear = shape.linear_parameters * (1 if precision == "fp8" else _BF16_BYTES)
    output = shape.embedding_parameters * _BF16_BYTES
    norms = (2 * shape.num_layers + 1) * shape.hidden_size * _BF16_BYTES
    embedding = 0 if shape.tie_word_embeddings and tp_size == 1 else output
    return (linear + output) // tp_size + embedding + norms + _scale_bytes(shape, precision, kv_cache)


def _scale_bytes(shape: ModelShape, precision: str, kv_cache: str) -> int:
    """FP8 has a scale for the weights and one for the input of each linear layer, and one for the KV cache."""
    per_layer = 2 * _LINEAR_LAYERS * (precision == "fp8") + (kv_cache == "fp8")
    return shape.num_layers * per_layer * _FP32_BYTES


def _activation_bytes(shape: ModelShape, max_num_tokens: int, tp_size: int) -> int:
    """Of the widest moment of a layer: residual, its norm and their sum; queries, keys, values; gate, up and product.

    TensorRT gives tensors that are not needed at the same time the same memory, so one layer counts, not all.
    """
    split = shape.query_size + 2 * shape.kv_size + 3 * shape.intermediate_size
    return max_num_tokens * (4 * shape.hidden_size + split // tp_size) * _BF16_BYTES
