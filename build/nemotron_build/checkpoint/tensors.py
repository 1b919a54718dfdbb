"""Which tensors lie in the safetensors files of a directory, from their headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.errors import CheckpointError

INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True)
class TensorRecord:
    """One tensor: where it lies and what it looks like.

    Attributes:
        file: The safetensors file.
        dtype: In safetensors' words, such as `BF16` or `F8_E4M3`.
        shape: Its dimensions.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]


def read_tensors(checkpoint: Path) -> dict[str, TensorRecord]:
    """Read the headers of all shards.

    Raises:
        CheckpointError: no safetensors, a shard that the index names is missing, a file that is cut short, or a
            tensor that the index puts elsewhere.
    """
    shards = sorted(checkpoint.glob("*.safetensors"))
    if not shards:
        pickles = sorted(path.name for pattern in _PICKLES for path in checkpoint.glob(pattern))
        also = f", only {pickles[0]}: a pickle runs code when it is loaded" if pickles else ""
        raise CheckpointError(
            f"{checkpoint} has no *.safetensors{also}. Download the checkpoint in safetensors format."
        )
    placed = _read_index(checkpoint)
    for name in sorted(set(placed.values())):
        if not (checkpoint / name).is_file():
            raise CheckpointError(f"{checkpoint / name} is missing; {INDEX} names it. Download it again.")
    records = {name: record for shard in shards for name, record in read_file(shard).items()}
    for name, shard_name in placed.items():
        if name not in records or records[name].file.name != shard_name:
            raise CheckpointError(
                f"{checkpoint / shard_name} does not hold {name}, as {INDEX} says. Download it again."
            )
    return records


def read_file(path: Path) -> dict[str, TensorRecord]:
    """Read the header of one safetensors file.

    Raises:
        CheckpointError: it cannot be read, or ends before its last tensor.
    """
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: TensorRecord(path, found.get_dtype(), tuple(found.get_shape())) for name, found in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {error}. Download it again.") from error


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
    expected: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocab_size, hidden)}
    for number in range(shape.num_layers):
        expected |= {f"model.layers.{number}.{name}.weight": size for name, size in layer.items()}
    expected["model.norm.weight"] = (hidden,)
    if not shape.tie_word_embeddings:
        expected["lm_head.weight"] = (shape.vocab_size, hidden)
    return expected


def _read_index(checkpoint: Path) -> dict[str, str]:
    path = checkpoint / INDEX
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Index).weight_map
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used: {error}. Download it again.") from error


class _Index(msgspec.Struct):
    weight_map: dict[str, str]
