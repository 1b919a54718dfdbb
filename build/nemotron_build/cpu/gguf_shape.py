"""What the fields of a GGUF file say of the model's arithmetic, as llama.cpp's loader reads them.

The graph and the reference that it is checked against both compute with what is read here, so a field that is passed
over would be wrong in both. Each field of the model is therefore applied, known to change nothing, or refused by name.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gguf.quants import dequantize

from nemotron_build.checkpoint.shape import MOST_LAYERS, ModelShape
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.packed import Array
from nemotron_build.cpu.rope import inverse_frequencies
from nemotron_build.errors import CheckpointError

FREQUENCY_FACTORS = "rope_freqs.weight"
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"

_ARCHITECTURE = "llama"
_PREFIX = f"{_ARCHITECTURE}."
_APPLIED = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count"),
    *("rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"),
)
# What the tensors say too, how a file is laid out, and what only other kinds of rope scaling read.
_WITHOUT_EFFECT = (
    "vocab_size",
    "tensor_data_layout",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
)
# Fields of other models: a value that changes nothing in a Llama.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.scale": (0,),  # left to 1 / sqrt(head_dim)
    "attention.sliding_window": (0,),
    "embedding_scale": (0, 1),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "rope.scaling.attn_factor": (1,),
    "use_parallel_residual": (False,),
}


def read_gguf_shape(file: GgufFile) -> ModelShape:
    """Read the sizes and constants of a Llama.

    Raises:
        CheckpointError: another architecture, a field that is missing or impossible, or one that cannot be applied.
    """
    architecture = file.value("general.architecture")
    if architecture != _ARCHITECTURE:
        raise CheckpointError(
            f"{file.path.name}: general.architecture is {architecture!r}, expected {_ARCHITECTURE!r}. "
            "Only Llama-shaped models can be built."
        )
    _check_fields(file)
    if EMBEDDING not in file.tensors:
        raise CheckpointError(f"{file.path.name} has no tensor {EMBEDDING}. Download it again.")
    embedding = file.tensors[EMBEDDING]
    hidden, heads = _size(file, "embedding_length"), _size(file, "attention.head_count")
    shape = ModelShape(
        hidden_size=hidden,
        intermediate_size=_size(file, "feed_forward_length"),
        num_layers=_size(file, "block_count"),
        num_heads=heads,
        num_kv_heads=_size(file, "attention.head_count_kv", heads),
        head_dim=_size(file, "attention.key_length", hidden // heads),
        vocab_size=int(embedding.shape[-1]),
        max_position_embeddings=_size(file, "context_length"),
        rms_norm_eps=_number(file, "attention.layer_norm_rms_epsilon"),
        rope_theta=_number(file, "rope.freq_base", 10000.0),
        rope_scaling=None,
        tie_word_embeddings=OUTPUT not in file.tensors,
        dtype=embedding.tensor_type.name,
    )
    if shape.num_layers > MOST_LAYERS:
        raise _wrong(file, "block_count", shape.num_layers, f"at most {MOST_LAYERS}")
    if shape.num_heads % shape.num_kv_heads:
        raise _wrong(file, "attention.head_count_kv", shape.num_kv_heads, f"a divisor of the {heads} heads")
    if shape.head_dim % 2:
        raise _wrong(file, "attention.key_length", shape.head_dim, "an even number: rope turns pairs of values")
    for field in ("attention.value_length", "rope.dimension_count"):
        if (found := _size(file, field, shape.head_dim)) != shape.head_dim:
            raise _wrong(file, field, found, f"the head's {shape.head_dim}")
    return shape


def read_frequencies(file: GgufFile, shape: ModelShape) -> Array:
    """Radians by which a position turns each pair of a head, FP32 (head_dim / 2,).

    `freq_base ** (-2 i / head_dim)`, divided by the factor of linear scaling and by the factors in `FREQUENCY_FACTORS`
    (Llama 3.1's scaling), which may come together. Without a type the scaling is linear; `scale_linear` is the factor's
    old name.

    Raises:
        CheckpointError: another kind of scaling, or a factor that is no positive number.
    """
    frequencies = inverse_frequencies(shape) / np.float32(_linear_factor(file))
    factors = file.tensors.get(FREQUENCY_FACTORS)
    if factors is None:
        return frequencies
    divisors = np.asarray(dequantize(factors.data, factors.tensor_type), np.float32)
    if not (np.isfinite(divisors) & (divisors > 0)).all():
        raise CheckpointError(
            f"{file.path.name}: {FREQUENCY_FACTORS} holds factors that are not above 0. Download it again."
        )
    return np.asarray(frequencies / divisors, np.float32)


def _linear_factor(file: GgufFile) -> float:
    kind = file.value(f"{_PREFIX}rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        raise CheckpointError(
            f"{file.path.name}: {_PREFIX}rope.scaling.type is {kind!r}; only none, linear, or Llama 3's in "
            f"{FREQUENCY_FACTORS}, can be built."
        )
    names = ("rope.scaling.factor", "rope.scale_linear")
    given = next((name for name in names if file.value(_PREFIX + name, None) is not None), None)
    # 0 stands for none.
    if kind == "none" or given is None or file.value(_PREFIX + given) == 0:
        return 1.0
    return _number(file, given)


def _check_fields(file: GgufFile) -> None:
    for field in file.fields:
        name = field.removeprefix(_PREFIX)
        if name == field or name in _APPLIED or name in _WITHOUT_EFFECT:
            continue
        found = file.value(field)
        if name not in _NEUTRAL:
            raise CheckpointError(
                f"{file.path.name}: {field} is {found!r}, a field that is not known and may change what the model "
                "computes. Build from the checkpoint in safetensors."
            )
        if found not in _NEUTRAL[name]:
            raise CheckpointError(
                f"{file.path.name}: {field} is {found!r}, expected {_NEUTRAL[name][-1]!r} or none: only plain Llamas, "
                "which have no such thing, can be built."
            )


def _size(file: GgufFile, name: str, default: int | None = None) -> int:
    """A whole number above 0. llama.cpp also takes a list with one for each layer."""
    found = file.value(_PREFIX + name) if default is None else file.value(_PREFIX + name, default)
    each = found if isinstance(found, list) and found else [found]
    if any(value != each[0] for value in each):
        raise _wrong(file, name, found, "the same in all layers")
    if not isinstance(each[0], int) or isinstance(each[0], bool) or each[0] <= 0:
        raise _wrong(file, name, found, "a whole number above 0")
    return each[0]


def _number(file: GgufFile, name: str, default: float | None = None) -> float:
    found = file.value(_PREFIX + name) if default is None else file.value(_PREFIX + name, default)
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 < found < math.inf:
        raise _wrong(file, name, found, "a number above 0")
    return float(found)


def _wrong(file: GgufFile, name: str, found: Any, expected: str) -> CheckpointError:
    return CheckpointError(f"{file.path.name}: {_PREFIX}{name} is {found}, expected {expected}. Download it again.")
