"""Where the memory goes, a GPU's or a CPU's: weights, activations, runtime, and the KV cache with what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.cpu.packed import CPU_KV_VALUE_BYTES, weight_bytes
from nemotron_build.profiles import Precision
from nemotron_serving.engine.openvino.cpu import default_kv_cache_gib
from nemotron_serving.engine.tensorrt_llm.files import TOKENS_PER_BLOCK

KV_VALUE_BYTES = {"bf16": 2, "fp8": 1}
KV_SHARE = 0.9
"""What TensorRT-LLM takes for the KV cache of the memory free after loading, where nothing else is said."""

_BF16_BYTES = 2
_FP32_BYTES = 4
_LINEAR_LAYERS = 7
# CUDA context, libraries' workspaces and NCCL: about what nvidia-smi shows for a process before it loads a model.
_RUNTIME_BYTES = 2**30
# Python, Triton, tokenizers, compiled kernels of a server on a CPU.
_CPU_RUNTIME_BYTES = 2 * 2**30
# Of what a CPU's machine has free, the most to ask for with --kv-cache-gib.
_LARGEST_CPU_SHARE = 0.8
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
        kv_bytes_per_token: Keys and values of a token, of this GPU's share of the KV heads.
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


@dataclass(frozen=True)
class CpuFootprint:
    """The memory of a machine that serves on its CPU, in bytes unless the name says otherwise.

    Attributes:
        total: RAM of the machine.
        weights: The model.
        runtime: The server's processes.
        kv_bytes_per_token: Keys and values of a token, in 16 bits.
        needed_gib: What the KV cache takes to hold one sequence of max_seq_len.
        default_gib: What `nemotron-serve` takes for it where nothing is said.
    """

    total: int
    weights: int
    runtime: int
    kv_bytes_per_token: int
    needed_gib: int
    default_gib: int

    @property
    def fits(self) -> bool:
        """Whether the machine can hold one sequence of max_seq_len beside the model."""
        free = self.total - self.weights - self.runtime
        return self.needed_gib * 2**30 <= free * _LARGEST_CPU_SHARE

    @property
    def kv_cache_gib(self) -> int:
        """For `nemotron-serve --kv-cache-gib`."""
        return max(self.default_gib, self.needed_gib)

    @property
    def kv_pool_tokens(self) -> int:
        """Tokens that the KV cache holds."""
        return self.kv_cache_gib * 2**30 // self.kv_bytes_per_token


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


def cpu_footprint(shape: ModelShape, *, memory_bytes: int, precision: Precision, max_seq_len: int) -> CpuFootprint:
    """Divide a machine's RAM among the model, the server and the KV cache."""
    weights, per_token = weight_bytes(shape, precision), shape.kv_bytes_per_token(CPU_KV_VALUE_BYTES)
    return CpuFootprint(
        total=memory_bytes,
        weights=weights,
        runtime=_CPU_RUNTIME_BYTES,
        kv_bytes_per_token=per_token,
        needed_gib=math.ceil(max_seq_len * per_token / 2**30),
        default_gib=default_kv_cache_gib(memory_bytes - weights - _CPU_RUNTIME_BYTES),
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
    """Activations in the widest moment of a layer.

    That is residual, its norm and their sum; queries, keys, values; gate, up and product. TensorRT gives
    tensors that are not needed at the same time the same memory, so one layer counts, not all.
    """
    split = shape.query_size + 2 * shape.kv_size + 3 * shape.intermediate_size
    return max_num_tokens * (4 * shape.hidden_size + split // tp_size) * _BF16_BYTES
