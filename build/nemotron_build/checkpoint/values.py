"""The values of a checkpoint's tensors: a scan for what no trained model holds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nemotron_build.checkpoint.tensors import TensorRecord, load_tensor
from nemotron_build.errors import CheckpointError
from nemotron_build.steps import Report

_CHUNK = 1 << 24
# All bits but the sign, and the exponent of infinity: what is not below it is infinite or no number.
_FORMATS = {
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "F32": (np.uint32, 0x7FFFFFFF, 0x7F800000),
}


def scan_tensors(tensors: Mapping[str, TensorRecord], progress: Report | None = None) -> None:
    """Read every value, some MiB at a time.

    Args:
        tensors: By name, in BF16, FP16 or FP32.
        progress: Told how many bytes of how many were read.

    Raises:
        CheckpointError: a tensor with a NaN or an infinity, or one of zeros alone, as an unfinished download leaves it.
    """
    total, done = sum(record.bytes for record in tensors.values()), 0
    # In the order of the files: a disk reads on faster than it seeks.
    for name, record in sorted(tensors.items(), key=lambda item: (item[1].file, item[1].offset)):
        kind, magnitude, infinity = _FORMATS[record.dtype]
        bits = load_tensor(record).reshape(-1).view(kind)
        largest = max(int((bits[start : start + _CHUNK] & magnitude).max()) for start in range(0, bits.size, _CHUNK))
        if largest >= infinity:
            raise CheckpointError(f"{record.file}: {name} holds a NaN or an infinity. Download it again.")
        if not largest:
            raise CheckpointError(
                f"{record.file}: {name} is all zeros, as an unfinished download leaves it. Download it again."
            )
        done += record.bytes
        if progress:
            progress(name, done, total)


def same_values(first: TensorRecord, second: TensorRecord) -> bool:
    """Whether two tensors, in BF16, FP16 or FP32, have the same values."""
    if first.shape != second.shape:
        return False
    one, other = (load_tensor(record).reshape(-1) for record in (first, second))
    chunks = (slice(start, start + _CHUNK) for start in range(0, one.size, _CHUNK))
    return all(np.array_equal(one[chunk].astype(np.float32), other[chunk].astype(np.float32)) for chunk in chunks)
