"""Among how many GPUs a model can be divided."""

from __future__ import annotations

import math

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.errors import UnsupportedError


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
