"""GGUF files of a tiny checkpoint, in the types that real ones have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFValueType
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer

from nemotron_build.checkpoint.shape import ModelShape, inverse_frequencies, read_shape
from nemotron_build.checkpoint.tensors import load_tensor, read_tensors

Array = npt.NDArray[Any]

_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}  # fmt: skip
_BLOCK_BYTES = {GGMLQuantizationType.Q4_K: 144, GGMLQuantizationType.Q5_K: 176, GGMLQuantizationType.Q6_K: 210}
_BLOCK = 256
_FIELD_TYPES = {
    str: GGUFValueType.STRING,
    bool: GGUFValueType.BOOL,
    int: GGUFValueType.UINT32,
    float: GGUFValueType.FLOAT32,
    list: GGUFValueType.ARRAY,
}


def write_gguf(
    checkpoint: Path,
    path: Path,
    kind: GGMLQuantizationType,
    *,
    scaling: bool = True,
    without: tuple[str, ...] = (),
    **fields: Any,
) -> dict[str, Array]:
    """Write a checkpoint as llama.cpp's converter does: its names, its order of rows, its factors of rope scaling.

    Args:
        checkpoint: A tiny checkpoint.
        path: The file.
        kind: Type of the matrices.
        scaling: Whether rope scaling comes along.
        without: Tensors and fields to leave out.
        fields: Fields to set otherwise, dots written as `__`: text, bool, int, float or a list of ints.

    Returns:
        The weights that the file stands for, by their Hugging Face names, in Hugging Face's order.
    """
    shape = read_shape(checkpoint)
    writer = gguf.GGUFWriter(path, "llama")
    _add_fields(writer, checkpoint, shape, without)
    for name, value in fields.items():
        writer.kv_data[0].pop(name.replace("__", "."), None)
        writer.add_key_value(name.replace("__", "."), value, _FIELD_TYPES[type(value)])
    for name in without:
        writer.kv_data[0].pop(name, None)
    stands_for = {}
    for name, record in read_tensors(checkpoint).items():
        values = load_tensor(record).astype(np.float32)
        heads = {"q_proj": shape.num_heads, "k_proj": shape.num_kv_heads}.get(name.split(".")[-2])
        stored = _interleaved(values, heads) if heads else values
        type_ = kind if values.ndim > 1 else GGMLQuantizationType.F32
        data = _quantized(stored, type_)
        if _in_file(name) not in without:
            writer.add_tensor(_in_file(name), data, raw_dtype=type_)
        back = np.asarray(dequantize(data, type_), np.float32).reshape(values.shape)
        stands_for[name] = _halves_apart(back, heads) if heads else back
    if scaling:
        plain = shape.rope_theta ** -(np.arange(0, shape.head_dim, 2) / shape.head_dim)
        factors = (plain / inverse_frequencies(shape)).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stands_for


def random_blocks(rows: int, columns: int, kind: GGMLQuantizationType, seed: int = 0) -> Array:
    """Blocks of a K type whose weights have the size of `columns` ** -0.5; gguf can read these, not write them."""
    size = _BLOCK_BYTES[kind]
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (rows, columns // _BLOCK, size), np.uint8)
    spread = columns**-0.5
    if kind == GGMLQuantizationType.Q6_K:
        data[..., -2:] = np.array([spread / 1300], np.float16).view(np.uint8)
    else:
        # Scale times code against minimum: their means cancel.
        middle = 7.5 if kind == GGMLQuantizationType.Q4_K else 15.5
        scale = spread / (32 * middle)
        data[..., :4] = np.array([scale, scale * middle], np.float16).view(np.uint8)
    return data.reshape(rows, -1)


def _quantized(values: Array, kind: GGMLQuantizationType) -> Array:
    if kind in _BLOCK_BYTES:
        return random_blocks(values.shape[0], values.shape[1], kind, seed=int(np.abs(values).sum()))
    data: Array = quantize(values, kind)
    return data


def _add_fields(writer: gguf.GGUFWriter, checkpoint: Path, shape: ModelShape, without: tuple[str, ...]) -> None:
    writer.add_block_count(shape.num_layers)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_rope_dimension_count(shape.head_dim)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids = tokenizer.get_vocab(with_added_tokens=True)
    special = tokenizer.get_added_tokens_decoder()
    if "tokenizer" not in without:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_list(sorted(ids, key=ids.__getitem__))
        writer.add_token_types([3 if id_ in special else 1 for id_ in range(len(ids))])
        writer.add_token_merges([f"{left} {right}" for left, right in _merges(checkpoint)])
        writer.add_eos_token_id(ids["<|eot_id|>"])


def _merges(checkpoint: Path) -> list[tuple[str, str]]:
    import json

    content = json.loads((checkpoint / "tokenizer.json").read_text())
    return [(left, right) for left, right in content["model"]["merges"]]


def _in_file(name: str) -> str:
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{_NAMES[stem]}.weight"
    _, _, number, rest = stem.split(".", 3)
    return f"blk.{number}.{_NAMES[rest]}.weight"


def _interleaved(values: Array, heads: int) -> Array:
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)


def _halves_apart(values: Array, heads: int) -> Array:
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows, columns)
