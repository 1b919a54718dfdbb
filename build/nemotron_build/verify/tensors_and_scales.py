"""Whether a converted checkpoint holds the tensors that it has to hold, from the headers of its files."""

from __future__ import annotations

from pathlib import Path

from nemotron_build.checkpoint.tensors import TensorRecord, read_file
from nemotron_build.errors import CheckpointError, VerificationError
from nemotron_build.verify.claims import AGAIN
from nemotron_build.verify.expected import BF16, FLOAT32, FP8, Converted

# A scale is one number: a tensor without dimensions, or of one.
_SCALE_SHAPES = ((), (1,))


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
            _check(records[name], name, dtype, shapes)


def _expected(converted: Converted, rank: int) -> dict[str, tuple[str, tuple[tuple[int, ...], ...]]]:
    """Dtype and possible dimensions of every tensor of one rank."""
    expected: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
        weight.name: (BF16 if weight.weight_scale is None else FP8, (weight.shape,))
        for weight in converted.weights
        if weight.rank == rank
    }
    return expected | {name: (FLOAT32, _SCALE_SHAPES) for owner, name in converted.scales() if owner == rank}


def _check(record: TensorRecord, name: str, dtype: str, shapes: tuple[tuple[int, ...], ...]) -> None:
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
