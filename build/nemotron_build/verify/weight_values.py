"""Whether a converted checkpoint's weights are the source's, within what its format can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from nemotron_build.checkpoint.tensors import expected_tensors, load_tensor
from nemotron_build.errors import VerificationError
from nemotron_build.verify.claims import AGAIN
from nemotron_build.verify.expected import Converted, Piece, Weight

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.steps import Report

# Rounding to E4M3 changes a normal number by 2^-4 of it at most, and a subnormal one by half of their step of 2^-9.
_RELATIVE_ERROR = 2.0**-4
_SUBNORMAL_ERROR = 2.0**-10
# Values compared at a time: a few of them in float32 are 64 MB.
_BLOCK = 1 << 22
# Of a row, the columns by which it is recognized in another place.
_SIGNATURE = 64


def check_weights(converted: Converted, source: Checkpoint, report: Report) -> None:
    """Compare every weight with the source, one block of one tensor at a time.

    An FP8 weight times its scale may be off by |source| * 2^-4 + scale * 2^-10, a BF16 weight not at all; both against
    the source rounded to BF16.

    Raises:
        VerificationError: naming the tensor, the rows, and what they hold instead where that can be found.
    """
    for done, weight in enumerate(converted.weights):
        report("weights", done, len(converted.weights))
        for piece in weight.pieces:
            _check(_Comparison(converted, source, weight, piece))
    report("weights", len(converted.weights), len(converted.weights))


def dequantized(values: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """A tensor's values in float32: an FP8 tensor's times its scale, a BF16 tensor's as they are."""
    wide: NDArray[np.float32] = values.astype(np.float32)
    return wide if scale is None else wide * np.float32(scale)


class _Comparison:
    """Rows of a converted tensor beside the part of the source that they have to hold."""

    def __init__(self, converted: Converted, source: Checkpoint, weight: Weight, piece: Piece) -> None:
        self.record = converted.ranks[weight.rank][weight.name]
        self.name, self.piece, self.shape = weight.name, piece, source.shape
        self._scale = converted.weight_scale(weight)
        self._found = np.atleast_2d(load_tensor(self.record)[piece.rows])
        self._source = source
        self._part = self.source_part(piece.source)

    def source_part(self, name: str) -> NDArray[Any]:
        """The part that this piece is, of any source tensor of the same dimensions."""
        part: NDArray[Any] = np.atleast_2d(load_tensor(self._source.tensors[name])[self.piece.part])
        return part

    def blocks(self) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """First row of each block, and which of its values are wrong."""
        height = max(1, _BLOCK // self._part.shape[1])
        for start in range(0, len(self._part), height):
            yield start, self.wrong(self._found[start : start + height], self._part[start : start + height])

    def row_is(self, row: int, other: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows of `other` a row of the converted tensor could be."""
        columns = slice(_SIGNATURE)
        right: NDArray[np.bool_] = ~self.wrong(self._found[row, columns], other[:, columns]).any(axis=-1)
        return right

    def wrong(self, found: NDArray[Any], source: NDArray[Any]) -> NDArray[np.bool_]:
        """Which values are further apart than the format explains. NaN is."""
        expected = source.astype(ml_dtypes.bfloat16).astype(np.float32)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            error = np.abs(dequantized(found, self._scale) - expected)
        allowed: NDArray[np.float32] | int = 0
        if self._scale is not None:
            allowed = np.abs(expected) * np.float32(_RELATIVE_ERROR) + np.float32(_SUBNORMAL_ERROR * self._scale)
        wrong: NDArray[np.bool_] = ~(error <= allowed)
        return wrong


def _check(comparison: _Comparison) -> None:
    count, first = 0, 0
    for start, wrong in comparison.blocks():
        if not count and wrong.any():
            first = start + int(wrong.any(axis=1).argmax())
        count += int(wrong.sum())
    if count:
        source = comparison.piece.source
        raise VerificationError(
            f"{comparison.record.file}: {comparison.name} is not {source}: {count} values differ, "
            f"from {_place(comparison, first)} on{_instead(comparison, first)}. {AGAIN}"
        )


def _instead(comparison: _Comparison, row: int) -> str:
    """What the first wrong row is instead, where it is a row of the source."""
    source = comparison.piece.source
    sizes = expected_tensors(comparison.shape)
    if len(sizes[source]) > 1:
        same_tensor = comparison.row_is(row, comparison.source_part(source))
        if same_tensor.any():
            return f"; it holds {_place(comparison, int(same_tensor.argmax()))} of it"
    for name, size in sizes.items():
        same_size = name != source and size == sizes[source]
        if same_size and comparison.row_is(row, comparison.source_part(name)[row : row + 1]).all():
            return f"; it holds {name}"
    return ""


def _place(comparison: _Comparison, row: int) -> str:
    """A row of a piece, as a row of the source and, of attention, as a head."""
    part, source = comparison.piece.part, comparison.piece.source
    if len(part) == 1:
        return "the first value"
    row += part[0].start
    for name, heads in (("q_proj", "head"), ("k_proj", "KV head"), ("v_proj", "KV head")):
        if name in source:
            head_dim = comparison.shape.head_dim
            return f"row {row % head_dim} of {heads} {row // head_dim}"
    return f"row {row}"
