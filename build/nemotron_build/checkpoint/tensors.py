"""Which tensors lie in the safetensors files of a directory, from their headers alone, and how to read one.

A safetensors file is the size of its header (8 bytes, little endian), the header (JSON: dtype, shape and place of each
tensor) and the values one after the other. Reading it here rather than through the library gives each tensor as a view
of the file, in all of its dtypes, without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import numpy.typing as npt

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.errors import CheckpointError
from nemotron_build.json_file import read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"
"""The two matrices of the vocabulary; a model with tied embeddings has the first alone."""
FINAL_NORM = "model.norm.weight"

DTYPES: dict[str, npt.DTypeLike] = {
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""Those that Llama checkpoints are made of, quantized ones included, in safetensors' words and in numpy's."""

_LENGTH_BYTES = 8
_LFS_POINTER = b"version https://git-lfs"
_METADATA = "__metadata__"


@dataclass(frozen=True)
class TensorRecord:
    """One tensor: where it lies and what it looks like.

    Attributes:
        file: The safetensors file.
        dtype: In safetensors' words, such as `BF16` or `F8_E4M3`.
        shape: Its dimensions.
        offset: Where its values begin in the file, in bytes.
        bytes: How many they are.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


def read_tensors(checkpoint: Path) -> dict[str, TensorRecord]:
    """Read the headers of model.safetensors, or of all shards that its index names.

    Other safetensors files in the directory are left alone, as transformers does.

    Raises:
        CheckpointError: no safetensors, a shard that the index names is missing, a file that is cut short, or a
            tensor that the index puts elsewhere.
    """
    single, index = checkpoint / WEIGHTS, checkpoint / INDEX
    if not index.is_file():
        if not single.is_file():
            raise CheckpointError(
                f"{checkpoint} has neither {WEIGHTS} nor {INDEX}. Download the whole checkpoint, as safetensors."
            )
        return read_file(single)
    placed = _read_index(index)
    names = sorted(set(placed.values()))
    if single.is_file() and WEIGHTS not in names:
        raise CheckpointError(
            f"{checkpoint} has {WEIGHTS}, and {INDEX} that names other files. Remove the one that is not wanted."
        )
    for name in names:
        if not (checkpoint / name).is_file():
            raise CheckpointError(f"{checkpoint / name} is missing; {INDEX} names it. Download it again.")
    found = {name: read_file(checkpoint / name) for name in names}
    for tensor, name in placed.items():
        if tensor not in found[name]:
            raise CheckpointError(f"{checkpoint / name} does not hold {tensor}, as {INDEX} says. Download both again.")
    return {tensor: found[name][tensor] for tensor, name in placed.items()}


def read_file(path: Path) -> dict[str, TensorRecord]:
    """Read the header of one safetensors file.

    Raises:
        CheckpointError: it cannot be read, is not what its header says, or has another size.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise CheckpointError(f"{path} is a pointer of Git LFS, not the file itself. Run 'git lfs pull' there.")
            length = int.from_bytes(start[:_LENGTH_BYTES], "little")
            size = path.stat().st_size
            if len(start) < _LENGTH_BYTES or _LENGTH_BYTES + length > size:
                raise CheckpointError(f"{path} has {size:,} bytes, too few for its header. Download it again.")
            file.seek(_LENGTH_BYTES)
            header = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        header.pop(_METADATA, None)
        entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}. Download it again.") from error
    return _records(path, entries, _LENGTH_BYTES + length, size)


def load_tensor(record: TensorRecord) -> npt.NDArray[Any]:
    """A tensor's values, as a read-only view of the file: memory is taken as they are read, and can be given back.

    BF16 and FP8 have the dtypes of ml_dtypes.

    Raises:
        CheckpointError: a dtype that is not in `DTYPES`, or a file that has gone.
    """
    if record.dtype not in DTYPES:
        raise CheckpointError(f"{record.file} holds {record.dtype}, expected one of {', '.join(DTYPES)}.")
    if not record.bytes:
        return np.empty(record.shape, DTYPES[record.dtype])
    try:
        return np.memmap(record.file, DTYPES[record.dtype], "r", record.offset, record.shape)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{record.file} cannot be read: {error}. Was it changed meanwhile?") from error


def expected_tensors(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Name and dimensions of every tensor of a Hugging Face checkpoint of this shape."""
    hidden, mlp = shape.hidden_size, shape.intermediate_size
    layer = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (shape.query_size, hidden),
        "self_attn.k_proj": (shape.kv_size, hidden),
        "self_attn.v_proj": (shape.kv_size, hidden),
        "self_attn.o_proj": (hidden, shape.query_size),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (mlp, hidden),
        "mlp.up_proj": (mlp, hidden),
        "mlp.down_proj": (hidden, mlp),
    }
    expected: dict[str, tuple[int, ...]] = {EMBEDDING: (shape.vocab_size, hidden)}
    for number in range(shape.num_layers):
        expected |= {f"model.layers.{number}.{name}.weight": size for name, size in layer.items()}
    expected[FINAL_NORM] = (hidden,)
    if not shape.tie_word_embeddings:
        expected[OUTPUT] = (shape.vocab_size, hidden)
    return expected


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def bytes(self) -> int:
        begin, end = self.data_offsets
        return end - begin


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def _records(path: Path, entries: dict[str, _Entry], start: int, size: int) -> dict[str, TensorRecord]:
    """Check that the tensors lie one after the other and fill the file."""
    records = {}
    reached = start
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        offset = start + entry.data_offsets[0]
        known = DTYPES.get(entry.dtype)
        right = entry.bytes if known is None else math.prod(entry.shape) * np.dtype(known).itemsize
        if offset != reached or entry.bytes != right or min((0, *entry.shape)) < 0:
            raise CheckpointError(f"{path}: its header puts {name} at a wrong place. Download it again.")
        records[name] = TensorRecord(path, entry.dtype, entry.shape, offset, entry.bytes)
        reached += entry.bytes
    if reached != size:
        raise CheckpointError(
            f"{path} has {size:,} bytes, its header says {reached:,}: cut short or damaged. Download it again."
        )
    return records


def _read_index(path: Path) -> dict[str, str]:
    placed = read_json(path, _Index).weight_map
    for name in placed.values():
        if Path(name).name != name:
            raise CheckpointError(f"{path} names the file {name!r}, expected one beside it. Download it again.")
    return placed
