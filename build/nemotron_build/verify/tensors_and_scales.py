"""Whether a converted checkpoint's tensors are there, its FP8 scales can be used, and its weights are the source's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from nemotron_build.checkpoint.tensors import TensorRecord, expected_tensors, load_tensor, read_file
from nemotron_build.errors import CheckpointError, VerificationError
from nemotron_build.verify.expected import AGAIN, BF16, FLOAT32, FP8, Converted, Piece, Weight

if TYPE_CHECKING:
    from nemotron_build.checkpoint.check import Checkpoint
    from nemotron_build.steps import Report

# A scale is one number: a tensor without dimensions, or of one.
_SCALE_SHAPES = ((), (1,))
# Rounding to E4M3 changes a normal number by 2^-4 of it at most, and a subnormal one by half of their step of 2^-9.
_RELATIVE_ERROR = 2.0**-4
_SUBNORMAL_ERROR = 2.0**-10
# Values compared at a time: a few of them in float32 are 64 MB.
_BLOCK = 1 << 22
# Of a row, the columns by which it is recognized in another place.
_SIGNATURE = 64


def read_records(path: Path) -> dict[str, TensorRecord]:
    """Read the header of one file of a converted checkpoint.

    Raises:
        VerificationError: it is missing, damaged or cut short.
    """
    if not path.is_file():
        raise VerificationError(f"{path} is missing. {AGAIN}")
    try:
        return read_file(path)
    except CheckpointError as error:
        raise VerificationError(f"{path} is damaged or cut short. {AGAIN}") from error


def check_tensors(converted: Converted) -> None:
    """Check names, dimensions and dtypes.

    Raises:
        VerificationError: a tensor is missing, unknown, or of another shape or dtype.
    """
    for rank, records in enumerate(converted.ranks):
        expected = _expected(converted, rank)
        where = _where(converted, records)
        missing = [name for name in expected if name not in records]
        if missing:
            raise VerificationError(f"{where} lacks {_some(missing)}. {AGAIN}")
        unknown = [name for name in records if name not in expected and name not in converted.optional]
        if unknown:
            raise VerificationError(f"{where} holds {_some(unknown)}, which this model does not have. {AGAIN}")
        for name, (dtype, shapes) in expected.items():
            _check_record(records[name], name, dtype, shapes)


def check_scales(converted: Converted) -> None:
    """Check that each scale is a positive number, and that the ranks agree on the scales of what they share.

    Raises:
        VerificationError: a scale is zero, negative, infinite or NaN, or differs between ranks.
    """
    weight_scales = {weight.weight_scale for weight in converted.weights}
    first: dict[str, float] = {}
    for rank, name in converted.scales():
        record = converted.ranks[rank][name]
        value = converted.scalar(rank, name)
        if not (math.isfinite(value) and value > 0):
            raise VerificationError(
                f"{record.file}: {name} is {value}, expected a positive number. Its layer was not calibrated. {AGAIN}"
            )
        # A rank's weights may have a scale of their own. Its input is the same tensor on all ranks, or a part of one.
        if name not in weight_scales and first.setdefault(name, value) != value:
            raise VerificationError(f"{record.file}: {name} is {value}, but {first[name]} on rank 0. {AGAIN}")


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
            _check_piece(_Comparison(converted, source, weight, piece))
    report("weights", len(converted.weights), len(converted.weights))


def dequantized(values: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """A tensor's values in float32: an FP8 tensor's times its scale, a BF16 tensor's as they are."""
    wide: NDArray[np.float32] = values.astype(np.float32)
    return wide if scale is None else wide * np.float32(scale)


def _expected(converted: Converted, rank: int) -> dict[str, tuple[str, tuple[tuple[int, ...], ...]]]:
    """Dtype and possible dimensions of every tensor of one rank."""
    expected: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
        weight.name: (BF16 if weight.weight_scale is None else FP8, (weight.shape,))
        for weight in converted.weights
        if weight.rank == rank
    }
    return expected | {name: (FLOAT32, _SCALE_SHAPES) for owner, name in converted.scales() if owner == rank}


def _check_record(record: TensorRecord, name: str, dtype: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    if record.dtype != dtype:
        raise VerificationError(f"{record.file}: {name} is {record.dtype}, expected {dtype}. {AGAIN}")
    if record.shape not in shapes:
        raise VerificationError(
            f"{record.file}: {name} has the shape {list(record.shape)}, expected {list(shapes[-1])}. {AGAIN}"
        )


def _where(converted: Converted, records: dict[str, TensorRecord]) -> Path:
    files = {record.file for record in records.values()}
    return files.pop() if len(files) == 1 else converted.directory


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more tensors"


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


def _check_piece(comparison: _Comparison) -> None:
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
