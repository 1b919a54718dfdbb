"""A GGUF file, and what its fields say of the model's arithmetic, as llama.cpp's loader reads them.

The graph and the reference that it is checked against both compute with what is read here, so a field that is passed
over would be wrong in both. Each field of the model is therefore applied, known to change nothing, or refused by name.
Faults of the file are told in one line.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from nemotron_build.checkpoint.shape import MOST_LAYERS, ModelShape, inverse_frequencies
from nemotron_build.cpu.packed import Array
from nemotron_build.errors import CheckpointError

FREQUENCY_FACTORS = "rope_freqs.weight"
TOKEN_EMBEDDING, OUTPUT_LAYER = "token_embd.weight", "output.weight"

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

_MAGIC = b"GGUF"
_ABSENT = object()
_KINDS: dict[type, str] = {int: "an integer", str: "a text", list: "a list"}


class GgufFile:
    """A GGUF file, mapped into memory.

    Attributes:
        path: Where it lies.
        tensors: By the names they have in it.
        fields: Names of all its fields.
    """

    def __init__(self, path: Path) -> None:
        """Read fields and the list of tensors.

        Raises:
            CheckpointError: it is missing, not GGUF, cut short, or one of several files of a split model.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                found = file.read(len(_MAGIC))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}. Name a .gguf file.") from error
        if found != _MAGIC:
            begins = f"starts with {found!r}, expected {_MAGIC!r}" if found else "is empty"
            raise CheckpointError(f"{path} cannot be read as GGUF: it {begins}. Name a .gguf file.")
        try:
            self._reader = GGUFReader(path)
        # Past the end of the file the reader's arrays come out short, which shows in many ways.
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(
                f"{path} cannot be read as GGUF: it is cut short or damaged. Download it again."
            ) from error
        self.tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.fields = tuple(self._reader.fields)
        if self.value("split.count", 1, kind=int) > 1:
            raise CheckpointError(f"{path} is one part of a model. Join the parts with 'llama-gguf-split --merge'.")

    def value(self, field: str, default: Any = _ABSENT, *, kind: type | None = None) -> Any:
        """Content of a field.

        Args:
            field: Its name.
            default: What it is where it is not there.
            kind: `int`, `str` or `list`, which it has to be; None where the caller looks himself.

        Raises:
            CheckpointError: it is not there and has no default, or is of another kind.
        """
        reader = self._reader.get_field(field)
        if reader is None and default is _ABSENT:
            raise CheckpointError(
                f"{self.path.name} has no field {field}; a Llama-shaped GGUF with its tokenizer is needed."
            )
        if reader is None:
            return default
        found = reader.contents()
        if kind and (not isinstance(found, kind) or isinstance(found, bool)):
            raise CheckpointError(
                f"{self.path.name}: {field} is {found!r}, expected {_KINDS[kind]}. Download it again."
            )
        return found


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
    if TOKEN_EMBEDDING not in file.tensors:
        raise CheckpointError(f"{file.path.name} has no tensor {TOKEN_EMBEDDING}. Download it again.")
    embedding = file.tensors[TOKEN_EMBEDDING]
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
        tie_word_embeddings=OUTPUT_LAYER not in file.tensors,
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
