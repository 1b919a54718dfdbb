"""Weight matrices as OpenVINO's CPU plugin computes with them: BF16, or small integers in groups of 32 with scales.

A group's weights are `(code - zero) * scale`, or `code * scale + offset`. Scales, zeros and offsets are FP16, and 32
weights of a row share them. Zeros with a fraction let the ranges of GGUF's Q4_1 and Q4_K stand as they are; rounded to
whole codes, as OpenVINO's own GGUF reader has them, they shift a group by up to half a step.

What a whole model takes in a precision follows from that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nemotron_build.checkpoint.tensors import EMBEDDING, OUTPUT, expected_tensors

if TYPE_CHECKING:
    from nemotron_build.checkpoint.shape import ModelShape
    from nemotron_build.profiles import Precision

Array = npt.NDArray[Any]
Element = Literal["bf16", "i8", "i4", "u4"]

GROUP = 32
JOINT = "+"
"""Between the names of matrices that are written as one, see `join`."""

BITS: dict[Element, float] = {"bf16": 16, "i8": 8.5, "i4": 4.5, "u4": 5}
"""Bits that a weight takes, its share of scale and zero included."""

MAX_ZERO = 64.0
"""Zeros stay within this: up to here FP16 holds them to 1/32 of a step and better."""

CPU_KV_VALUE_BYTES = 2
"""Bytes of a value in the KV cache, as the graph asks for it."""

_ELEMENTS: dict[Precision, tuple[Element, Element]] = {
    "bf16": ("bf16", "bf16"),
    "int8": ("i8", "i8"),
    "int4": ("u4", "i8"),
}
_NORM_BYTES = 4

_I8_MAX, _U4_MAX = 127, 15
_I4_SHIFT = 8  # a code of u4 is that of i4 and this


@dataclass(frozen=True)
class Packed:
    """A matrix, packed.

    Attributes:
        element: Type of the codes.
        rows: Outputs of the layer, or tokens of a vocabulary.
        columns: Inputs of the layer.
        codes: `bf16`: bits of the values, uint16 (rows, columns). `i8`: int8 (rows, columns / 32, 32).
            `i4` and `u4`: uint8 (rows, columns / 32, 16), the first of two codes in the low four bits.
        scales: FP16 (rows, columns / 32, 1); None for `bf16`.
        zeros: The same, for `u4`.
        offsets: The same, for `i4` that was `u4`, see `with_offsets`.
    """

    element: Element
    rows: int
    columns: int
    codes: Array
    scales: Array | None = None
    zeros: Array | None = None
    offsets: Array | None = None

    def with_offsets(self) -> Packed:
        """The same weights without zeros: `(code - zero) * scale` as `(code - 8) * scale + offset`.

        Codes without zeros are those that OpenVINO unpacks fastest, and that it multiplies as integers where the CPU
        can. What the offsets add to a product follows from the sums of its input's groups, see graph.py.

        Returns:
            Of element `i4`; itself where it has no zeros, or an offset beyond FP16.
        """
        if self.scales is None or self.zeros is None:
            return self
        with np.errstate(over="ignore"):
            offsets = (self.scales.astype(np.float32) * (_I4_SHIFT - self.zeros.astype(np.float32))).astype(np.float16)
        if not np.isfinite(offsets).all():
            return self
        # In two's complement the shift is the topmost bit the other way round.
        return Packed("i4", self.rows, self.columns, self.codes ^ 0x88, self.scales, offsets=offsets)

    def is_finite(self) -> bool:
        """Whether no value is infinite or not a number."""
        if self.scales is None:
            return bool(np.isfinite(self.codes.view(ml_dtypes.bfloat16)).all())
        return bool(np.isfinite(self.scales).all() and (self.zeros is None or np.isfinite(self.zeros).all()))

    def rows_as_float(self, rows: Array) -> Array:
        """Some rows as the FP32 values that they stand for, (n, columns)."""
        codes = self.codes[rows]
        if self.scales is None:
            return np.asarray(codes.view(ml_dtypes.bfloat16), np.float32)
        if self.element != "i8":
            codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], GROUP)
        values = np.asarray(codes, np.float32)
        if self.element == "i4":
            values -= 16 * (values > 7)
        if self.zeros is not None:
            values -= self.zeros[rows].astype(np.float32)
        values *= self.scales[rows].astype(np.float32)
        if self.offsets is not None:
            values += self.offsets[rows].astype(np.float32)
        return values.reshape(len(rows), self.columns)


def pack(blocks: Iterable[Array], rows: int, columns: int, element: Element) -> Packed:
    """Pack a matrix that comes in blocks of whole rows, so that only one block is held as floats.

    Args:
        blocks: FP32, (n, columns), together `rows` rows.
        rows: See `Packed`.
        columns: See `Packed`; a multiple of 32 except for `bf16`.
        element: `bf16`, `i8` (symmetric) or `u4` (from the smallest to the largest weight of a group).
    """
    if element == "bf16":
        return Packed(element, rows, columns, np.concatenate([_bits_of_bf16(block) for block in blocks]))
    quantize = _to_i8 if element == "i8" else quantize_u4
    with np.errstate(invalid="ignore", over="ignore"):  # it shows in the scales, see `is_finite`
        parts = [quantize(block.reshape(len(block), columns // GROUP, GROUP)) for block in blocks]
    return Packed(element, rows, columns, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def join(parts: Sequence[Packed]) -> Packed | None:
    """Matrices one above the other; None for those that are not packed alike."""
    first = parts[0]
    if any(part.element != first.element for part in parts):
        return None
    kinds = [(part.codes, part.scales, part.zeros, part.offsets) for part in parts]
    arrays = [None if kind[0] is None else np.concatenate(kind) for kind in zip(*kinds, strict=True)]
    codes = arrays[0]
    assert codes is not None  # noqa: S101 - every matrix has codes
    return Packed(first.element, sum(part.rows for part in parts), first.columns, codes, *arrays[1:])


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


def quantize_u4(groups: Array) -> tuple[Array, ...]:
    """Round groups, FP32 (…, 32), from their smallest to their largest weight.

    Returns:
        Codes, scales and zeros as `Packed` has them.
    """
    scales, zeros = _range_of(groups)
    codes = groups / _divisor(scales)
    codes += zeros.astype(np.float32)
    return join_nibbles(_rounded(codes, 0, _U4_MAX).astype(np.uint8)), scales, zeros


def join_nibbles(codes: Array) -> Array:
    """Pack codes below 16, uint8 (..., 32), by two into bytes (..., 16), the first one low."""
    packed: Array = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return packed


def _bits_of_bf16(block: Array) -> Array:
    return block.astype(ml_dtypes.bfloat16).view(np.uint16)


def _to_i8(groups: Array) -> tuple[Array, ...]:
    scales = (_of_group(np.maximum, np.abs(groups)) / _I8_MAX).astype(np.float16)
    return _rounded(groups / _divisor(scales), -_I8_MAX, _I8_MAX).astype(np.int8), scales


def _range_of(values: Array) -> tuple[Array, Array]:
    """Scale and zero that spread the codes 0 to 15 from the smallest to the largest value of each group."""
    low, high = _of_group(np.minimum, values), _of_group(np.maximum, values)
    # Nearly equal values far from 0 would need a zero beyond FP16's precision: let their range begin or end at 0.
    far = np.maximum(np.abs(low), np.abs(high)) * _U4_MAX > MAX_ZERO * (high - low)
    low, high = np.where(far, np.minimum(low, 0), low), np.where(far, np.maximum(high, 0), high)
    scales = ((high - low) / _U4_MAX).astype(np.float16)
    return scales, (-low / _divisor(scales)).astype(np.float16)


def _of_group(choose: np.ufunc, groups: Array) -> Array:
    """The smallest or largest value of each group, (…, 1). NumPy's own reduction is slow along so short an axis."""
    while groups.shape[-1] > 1:
        groups = choose(*np.split(groups, 2, axis=-1))
    return groups


def _rounded(codes: Array, low: int, high: int) -> Array:
    """Round to whole codes within a range, in place."""
    np.rint(codes, out=codes)
    return np.clip(codes, low, high, out=codes)


def _divisor(scales: Array) -> Array:
    """The scales as FP32, 1 for those that are 0: there all codes are those of 0."""
    return np.where(scales == 0, 1, scales).astype(np.float32)
