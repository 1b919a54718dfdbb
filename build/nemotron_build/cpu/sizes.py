"""How each matrix is stored in a precision, and what a model then takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nemotron_build.checkpoint.tensors import EMBEDDING, OUTPUT, expected_tensors
from nemotron_build.cpu.packed import BITS, Element

if TYPE_CHECKING:
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.profiles import Precision

KV_VALUE_BYTES = 2
"""Of the KV cache, as the graph asks for it."""

_ELEMENTS: dict[Precision, tuple[Element, Element]] = {
    "bf16": ("bf16", "bf16"),
    "int8": ("i8", "i8"),
    "int4": ("u4", "i8"),
}
_NORM_BYTES = 4


def element_of(name: str, precision: Precision) -> Element:
    """How a matrix is stored: a vocabulary's has 8 bits where layers have 4."""
    layers, vocabulary = _ELEMENTS[precision]
    return vocabulary if name in (EMBEDDING, OUTPUT) else layers


def weight_bytes(shape: ModelShape, precision: Precision) -> int:
    """Bytes of the weights as OpenVINO holds them, scales included, norms in FP32."""
    total = 0.0
    for name, size in expected_tensors(shape).items():
        value_bytes = _NORM_BYTES if len(size) == 1 else BITS[element_of(name, precision)] / 8
        total += math.prod(size) * value_bytes
    return int(total)
