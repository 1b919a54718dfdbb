"""The weights of a checkpoint: whether they are those of the Llama that its config.json describes, and trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from nemotron_build.checkpoint.files import and_more
from nemotron_build.checkpoint.shape import CONFIG, ModelShape
from nemotron_build.checkpoint.tensors import (
    EMBEDDING,
    OUTPUT,
    TensorRecord,
    expected_tensors,
    load_tensor,
    read_tensors,
)
from nemotron_build.errors import CheckpointError
from nemotron_build.steps import Report

if TYPE_CHECKING:
    from torch import Tensor

DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""What a source may be stored in: safetensors' word, and that of config.json."""

# Old checkpoints store what is computed from rope_theta.
_COMPUTED = ".rotary_emb.inv_freq"

_CHUNK = 1 << 24
# All bits but the sign, and the exponent of infinity: what is not below it is infinite or no number.
_FORMATS = {
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "F32": (np.uint32, 0x7FFFFFFF, 0x7F800000),
}


class SourceTensors:
    """Reads a checkpoint's own weights by name and one at a time, in BF16 whatever its dtype is.

    Attributes:
        records: File, dtype and dimensions of each tensor.
    """

    def __init__(self, checkpoint: Path, shape: ModelShape) -> None:
        """Read the headers.

        Raises:
            CheckpointError: a file is missing or damaged, or the tensors are not those of the shape.
        """
        self.records: dict[str, TensorRecord] = own_tensors(checkpoint, read_tensors(checkpoint), shape)

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        import torch

        with safe_open(self.records[name].file, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor.to(torch.bfloat16)


def own_tensors(path: Path, found: Mapping[str, TensorRecord], shape: ModelShape) -> dict[str, TensorRecord]:
    """Pick the weights that a Llama of this shape has, and make sure that there are no others.

    Raises:
        CheckpointError: naming the first that is missing, unknown or of other dimensions.
    """
    expected = expected_tensors(shape)
    _check_names(path, found, expected)
    for name, size in expected.items():
        if found[name].shape != size:
            raise CheckpointError(
                f"{found[name].file}: {name} is {list(found[name].shape)}, {CONFIG} says {list(size)}. "
                "They are not of the same model: download both again."
            )
    if OUTPUT in found and OUTPUT not in expected and not same_values(found[OUTPUT], found[EMBEDDING]):
        raise CheckpointError(
            f"{found[OUTPUT].file}: {OUTPUT} is not {EMBEDDING}, {CONFIG} says tie_word_embeddings. "
            "Set it to false if the output layer was trained."
        )
    return {name: found[name] for name in expected}


def main_dtype(tensors: Mapping[str, TensorRecord]) -> str:
    """The dtype of most weights, in config.json's words. Norms may be in another one.

    Raises:
        CheckpointError: naming the first of a dtype that nothing can be built from.
    """
    for name, record in tensors.items():
        if record.dtype not in DTYPE_NAMES:
            raise CheckpointError(
                f"{record.file}: {name} is {record.dtype}, expected one of {', '.join(DTYPE_NAMES)}. "
                "Name a checkpoint that is not quantized."
            )
    return DTYPE_NAMES[dtypes(tensors)[0]]


def dtypes(tensors: Mapping[str, TensorRecord]) -> list[str]:
    """The dtypes that weights have, in safetensors' words, that of the most bytes first."""
    sizes: Counter[str] = Counter()
    for record in tensors.values():
        sizes[record.dtype] += record.bytes
    return [dtype for dtype, _ in sizes.most_common()]


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


def _check_names(path: Path, found: Mapping[str, TensorRecord], expected: Mapping[str, Any]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise CheckpointError(
            f"{path}: {missing[0]} is missing{and_more(missing)}, of the {len(expected)} weights of the "
            f"Llama in {CONFIG}. Download it again."
        )
    unknown = [name for name in found if name not in expected and not _harmless(name)]
    if unknown:
        remedy = (
            "Name the checkpoint that was quantized."
            if "scale" in unknown[0]
            else "Biases and adapters cannot be built from; if there should be none, download both again."
        )
        raise CheckpointError(
            f"{found[unknown[0]].file}: {unknown[0]}{and_more(unknown)} is no weight of the Llama in {CONFIG}. {remedy}"
        )


def _harmless(name: str) -> bool:
    return name == OUTPUT or name.endswith(_COMPUTED)
