"""Stage 1 of a build: a checkpoint that was looked at before anything is made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nemotron_build.checkpoint.files import (
    and_more,
    fingerprint_of,
    refuse_pickles,
    source_revision,
)
from nemotron_build.checkpoint.generation import GENERATION_CONFIG, GenerationFacts, read_generation
from nemotron_build.checkpoint.shape import CONFIG, ModelShape, named_dtype, read_shape
from nemotron_build.checkpoint.tensors import INDEX, TensorRecord, read_tensors
from nemotron_build.checkpoint.tokenizer import (
    CHAT_TEMPLATE,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TokenizerFacts,
    read_tokenizer,
)
from nemotron_build.checkpoint.weights import main_dtype, own_tensors, scan_tensors
from nemotron_build.errors import CheckpointError
from nemotron_build.json_file import read_json
from nemotron_build.steps import Report
from nemotron_serving.engine.tensorrt_llm.files import QUANTIZATION_CONFIG

_QUANTIZED_FILES = (QUANTIZATION_CONFIG, "quantize_config.json", "quant_config.json")
_OPTIONAL_FILES = (GENERATION_CONFIG, TOKENIZER_CONFIG, CHAT_TEMPLATE, INDEX)


@dataclass(frozen=True)
class Checkpoint:
    """A source that can be built from.

    Attributes:
        path: Its directory.
        shape: From config.json.
        tensors: Exactly those of `expected_tensors(shape)`.
        dtype: The one that most tensors have: `bfloat16`, `float16` or `float32`.
        tokenizer: What its tokenizer holds.
        generation: How its outputs begin and end.
        files: All that a build reads.
        revision: The commit on the hub it was downloaded from, where that is known.
        notes: What is ignored, one line each, for the user.
    """

    path: Path
    shape: ModelShape
    tensors: Mapping[str, TensorRecord]
    dtype: str
    tokenizer: TokenizerFacts
    generation: GenerationFacts
    files: tuple[Path, ...]
    revision: str | None
    notes: tuple[str, ...]

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an output, the one that ends a turn first."""
        return self.generation.stop_token_ids

    @property
    def bytes(self) -> int:
        """Size of all weights."""
        return sum(record.bytes for record in self.tensors.values())

    def fingerprint(self, progress: Report | None = None) -> str:
        """SHA-256 (hex) that changes with any of the files. Reads them all: some twenty seconds for 16 GB."""
        return fingerprint_of(self.files, progress)


def check_checkpoint(path: Path, *, scan_values: bool = False, progress: Report | None = None) -> Checkpoint:
    """Check config.json, the safetensors' index and headers, tokenizer and generation_config. No code of it is run.

    Args:
        path: Directory of a Hugging Face checkpoint.
        scan_values: Also read every value, for NaN, infinities and holes.
        progress: Told how far the scan is.

    Raises:
        CheckpointError: in one line the file, what was found, what was expected and what to do.
    """
    shape = read_shape(path)
    config = read_json(path / CONFIG, _Config)
    _refuse_quantized(path, config)
    refuse_pickles(path)
    found = read_tensors(path)
    tensors = own_tensors(path, found, shape)
    shape = dataclasses.replace(shape, dtype=_dtype(path, tensors, config))
    tokenizer = read_tokenizer(path, shape)
    generation = read_generation(path, shape, tokenizer)
    if scan_values:
        scan_tensors(tensors, progress)
    files = _files(path, tensors)
    return Checkpoint(
        path=path,
        shape=shape,
        tensors=tensors,
        dtype=shape.dtype,
        tokenizer=tokenizer,
        generation=generation,
        files=files,
        revision=source_revision(path, files),
        notes=tuple(_notes(path, found, tensors)),
    )


class _Config(msgspec.Struct):
    """What config.json says of how the tensors are stored."""

    quantization_config: dict[str, Any] | None = None
    compression_config: dict[str, Any] | None = None
    dtype: str | None = None
    torch_dtype: str | None = None


def _refuse_quantized(path: Path, config: _Config) -> None:
    present = [name for name in _QUANTIZED_FILES if (path / name).is_file()]
    if config.quantization_config or config.compression_config or present:
        where = present[0] if present else f"quantization_config in {CONFIG}"
        raise CheckpointError(
            f"{path} is quantized already: it has {where}. Name the checkpoint in BF16, FP16 or FP32 it was made from."
        )


def _dtype(path: Path, tensors: Mapping[str, TensorRecord], config: _Config) -> str:
    dtype = main_dtype(tensors)
    named = named_dtype(config.dtype, config.torch_dtype) or dtype
    if named != dtype:
        raise CheckpointError(
            f"{path / CONFIG}: torch_dtype is {named!r}, the tensors are {dtype}. "
            f"Write torch_dtype {dtype!r}, if these are the right tensors."
        )
    return dtype


def _files(path: Path, tensors: Mapping[str, TensorRecord]) -> tuple[Path, ...]:
    optional = [path / name for name in _OPTIONAL_FILES if (path / name).is_file()]
    return (path / CONFIG, path / TOKENIZER, *optional, *sorted({record.file for record in tensors.values()}))


def _notes(path: Path, found: Mapping[str, TensorRecord], tensors: Mapping[str, TensorRecord]) -> list[str]:
    code = sorted(file.name for file in path.glob("*.py"))
    used = {record.file for record in found.values()}
    unused = sorted(file.name for file in path.glob("*.safetensors") if file not in used)
    extras = [name for name in found if name not in tensors]
    return [
        f"{names[0]}{and_more(names)}: ignored, {why}."
        for names, why in (
            (code, "code of a checkpoint is never run"),
            (unused, "the model's weights are in other files"),
            (extras, "not a weight of its own"),
        )
        if names
    ]
