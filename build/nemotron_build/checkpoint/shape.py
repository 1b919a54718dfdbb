"""The shape of a Llama-shaped model: everything that decides its memory, its speed and its arithmetic.

Read from config.json. Among how many GPUs it divides and by which angles it turns positions follow from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from nemotron_build.errors import CheckpointError, UnsupportedError
from nemotron_build.json_file import read_json
from nemotron_serving.paths import no_checkpoint

CONFIG = "config.json"
ARCHITECTURE = "LlamaForCausalLM"
MODEL_TYPE = "llama"
MOST_LAYERS = 10_000
"""More than any model has: the tensors of each are listed, which a damaged number would let go on until memory ends."""


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 stretches its rotary frequencies (rope_type `llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class ModelShape:
    """Sizes and constants of a Llama-shaped model, in the terms of its config.json."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tie_word_embeddings: bool
    dtype: str

    @property
    def query_size(self) -> int:
        """Width of the queries of all heads."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of the keys (or values) of all KV heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def layer_linear_parameters(self) -> int:
        """Weights of one layer's seven linear layers, the ones that are quantized."""
        attention = self.hidden_size * (2 * self.query_size + 2 * self.kv_size)
        return attention + 3 * self.hidden_size * self.intermediate_size

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers of all layers."""
        return self.num_layers * self.layer_linear_parameters

    @property
    def embedding_parameters(self) -> int:
        """Weights of one vocabulary matrix: the embedding, or the output layer."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All weights, norms included; 8,030,261,248 for Llama 3.1 8B."""
        vocabulary = self.embedding_parameters * (1 if self.tie_word_embeddings else 2)
        norms = (2 * self.num_layers + 1) * self.hidden_size
        return self.linear_parameters + vocabulary + norms

    def kv_bytes_per_token(self, value_bytes: int) -> int:
        """Bytes of KV cache that one token takes: keys and values of every layer.

        Args:
            value_bytes: 2 for BF16, 1 for FP8.
        """
        return 2 * self.num_layers * self.kv_size * value_bytes


LLAMA_31_8B = ModelShape(
    hidden_size=4096,
    intermediate_size=14336,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    vocab_size=128256,
    max_position_embeddings=131072,
    rms_norm_eps=1e-5,
    rope_theta=500000.0,
    rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192),
    tie_word_embeddings=False,
    dtype="bfloat16",
)
"""Llama-3.1-Nemotron-Nano-8B-v1 has the shape of Llama 3.1 8B."""


class _Kind(msgspec.Struct):
    architectures: list[str] | None = None
    model_type: str = MODEL_TYPE
    auto_map: dict[str, Any] | None = None


class _Config(msgspec.Struct):
    """config.json in the old and in the new spelling of rope; transformers 5 writes the new one.

    What has a default here is left out of real files, and has this default in transformers' LlamaConfig.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    rms_norm_eps: float
    max_position_embeddings: int
    hidden_act: str = "silu"
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    torch_dtype: str | None = None
    dtype: str | None = None


def read_shape(checkpoint: Path) -> ModelShape:
    """Read config.json of a checkpoint.

    Raises:
        CheckpointError: it is missing or not JSON, another architecture, or a field that is missing or impossible.
    """
    path = checkpoint / CONFIG
    if not path.is_file():
        raise CheckpointError(no_checkpoint(checkpoint))
    # The kind first: another architecture's file has other fields, and that is not what is wrong with it.
    _check_kind(read_json(path, _Kind), path)
    return _shape(read_json(path, _Config), path)


def tp_sizes(shape: ModelShape) -> list[int]:
    """The numbers of GPUs that each get whole and equal parts of heads, KV heads, MLP and vocabulary."""
    parts = math.gcd(shape.num_kv_heads, shape.num_heads, shape.intermediate_size, shape.vocab_size)
    return [size for size in range(1, parts + 1) if parts % size == 0]


def check_tp_size(shape: ModelShape, tp_size: int) -> None:
    """Refuse a tensor parallelism that would not split the model into equal pieces.

    Raises:
        UnsupportedError: naming the sizes, and the values that divide them all.
    """
    possible = tp_sizes(shape)
    if tp_size not in possible:
        raise UnsupportedError(
            f"tp_size {tp_size} does not divide the model's {shape.num_kv_heads} KV heads, {shape.num_heads} heads, "
            f"{shape.intermediate_size} rows of its MLP and {shape.vocab_size} tokens. "
            f"Use one of {', '.join(map(str, possible))}."
        )


def inverse_frequencies(shape: ModelShape) -> npt.NDArray[np.float32]:
    """Radians by which a position turns each pair of a head, FP32 (head_dim / 2,).

    The scaling is that of Llama 3.1 (`rope_type` `llama3`): frequencies whose wave fits `high_freq_factor` times into
    the original context stay, those that fit less than `low_freq_factor` times are slowed down by `factor`, and the
    ones between are blended by how often they fit.
    """
    plain = shape.rope_theta ** -(np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim)
    scaling = shape.rope_scaling
    if scaling is None:
        return np.asarray(plain, np.float32)
    waves = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    share = (waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(share, 0, 1)
    return np.asarray(plain * (kept + (1 - kept) / scaling.factor), np.float32)


def named_dtype(*names: str | None) -> str | None:
    """The first dtype that config.json names, in torch's words without the `torch.` that some write; None for none."""
    plain = (name.removeprefix("torch.") for name in names if name)
    return next((name for name in plain if name != "auto"), None)


def _check_kind(kind: _Kind, path: Path) -> None:
    if kind.architectures != [ARCHITECTURE] or kind.model_type != MODEL_TYPE:
        raise CheckpointError(
            f"{path}: architectures is {kind.architectures} and model_type {kind.model_type!r}, expected "
            f"[{ARCHITECTURE!r}] and {MODEL_TYPE!r}. Only Llama-shaped checkpoints can be built."
        )
    if kind.auto_map:
        raise CheckpointError(
            f"{path}: auto_map asks for code from the checkpoint, which is never run. "
            f"Use a checkpoint in the plain {ARCHITECTURE} format."
        )


def _shape(config: _Config, path: Path) -> ModelShape:
    heads = config.num_attention_heads
    kv_heads = heads if config.num_key_value_heads is None else config.num_key_value_heads
    _check_choices(config, path)
    _check_positive(
        {
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
        },
        path,
    )
    if config.num_hidden_layers > MOST_LAYERS:
        raise CheckpointError(
            f"{path}: num_hidden_layers is {config.num_hidden_layers}, expected at most {MOST_LAYERS}. "
            "Download it again."
        )
    if heads % kv_heads:
        raise CheckpointError(
            f"{path}: num_key_value_heads {kv_heads} does not divide num_attention_heads {heads}. Download it again."
        )
    theta, scaling = _rope(config, path)
    return ModelShape(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_layers=config.num_hidden_layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=_head_dim(config, path),
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.rms_norm_eps,
        rope_theta=theta,
        rope_scaling=scaling,
        tie_word_embeddings=config.tie_word_embeddings,
        dtype=named_dtype(config.dtype, config.torch_dtype) or "float32",
    )


def _check_choices(config: _Config, path: Path) -> None:
    for field, found, expected in (
        ("hidden_act", config.hidden_act, "silu"),
        ("attention_bias", config.attention_bias, False),
        ("mlp_bias", config.mlp_bias, False),
    ):
        if found != expected:
            raise CheckpointError(f"{path}: {field} is {found!r}; only checkpoints with {expected!r} can be built.")


def _check_positive(values: dict[str, float], path: Path) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise CheckpointError(f"{path}: {name} is {value}, expected more than 0. Download it again.")


def _head_dim(config: _Config, path: Path) -> int:
    hidden, heads = config.hidden_size, config.num_attention_heads
    if config.head_dim is None and hidden % heads:
        raise CheckpointError(
            f"{path}: num_attention_heads {heads} does not divide hidden_size {hidden}, and there is no head_dim. "
            "Download it again."
        )
    size = hidden // heads if config.head_dim is None else config.head_dim
    if size < 2 or size % 2:
        raise CheckpointError(f"{path}: head_dim is {size}, expected an even number: rope turns pairs of values.")
    return size


def _rope(config: _Config, path: Path) -> tuple[float, RopeScaling | None]:
    given = config.rope_parameters or config.rope_scaling or {}
    parameters = {name: value for name, value in given.items() if value is not None}
    theta = parameters.get("rope_theta", config.rope_theta)
    if not isinstance(theta, (int, float)) or not 0 < theta < math.inf:
        raise CheckpointError(f"{path}: rope_theta is {theta!r}, expected a positive number. Download it again.")
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return float(theta), None
    if kind != "llama3":
        raise CheckpointError(
            f"{path}: rope_type is {kind!r}; only checkpoints with 'default' or 'llama3' can be built."
        )
    try:
        fields = {name: parameters.get(name) for name in RopeScaling.__dataclass_fields__}
        scaling = msgspec.convert(fields, RopeScaling)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: rope scaling 'llama3' cannot be used: {error}. Download it again.") from error
    _check_positive({name: getattr(scaling, name) for name in fields}, path)
    if scaling.high_freq_factor <= scaling.low_freq_factor:
        raise CheckpointError(
            f"{path}: high_freq_factor is {scaling.high_freq_factor}, expected more than low_freq_factor, "
            f"{scaling.low_freq_factor}. Download it again."
        )
    return float(theta), scaling
