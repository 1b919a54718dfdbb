"""A GGUF of random weights in a larger model's shape: what it says is noise, what it costs is not.

Beside peers.py, because it measures nothing: it is the model that both sides read.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

_HIDDEN, _MLP, _LAYERS, _HEADS, _KV_HEADS = 2048, 8192, 16, 32, 8
_KIND, _VOCABULARY_KIND = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q8_0
_DEVIATION = 0.01  # of the weights: small enough that sixteen layers of noise stay finite


def write_random_gguf(path: Path, tokenizer_from: Path) -> Path:
    """Write 1.07 billion weights, 0.66 GB: the layers in Q4_K, the tied embedding in Q8_0.

    The sizes are those of Llama 3.2 1B, but for the vocabulary.

    Args:
        path: The file.
        tokenizer_from: A GGUF file whose tokenizer it gets, and so the size of the vocabulary.
    """
    fields = {
        name: field for name, field in gguf.GGUFReader(tokenizer_from).fields.items() if name.startswith("tokenizer.")
    }
    vocab_size = len(fields["tokenizer.ggml.tokens"].contents())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random-1b")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(8192)
    writer.add_embedding_length(_HIDDEN)
    writer.add_feed_forward_length(_MLP)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_rope_dimension_count(_HIDDEN // _HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab_size)
    for name, field in fields.items():
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), field.types[0])
    rng = np.random.default_rng(0)
    matrices = {
        "attn_q": (_HIDDEN, _HIDDEN),
        "attn_k": (_HIDDEN * _KV_HEADS // _HEADS, _HIDDEN),
        "attn_v": (_HIDDEN * _KV_HEADS // _HEADS, _HIDDEN),
        "attn_output": (_HIDDEN, _HIDDEN),
        "ffn_gate": (_MLP, _HIDDEN),
        "ffn_up": (_MLP, _HIDDEN),
        "ffn_down": (_HIDDEN, _MLP),
    }
    norm = np.ones(_HIDDEN, np.float32)
    embedding = _blocks(rng, vocab_size, _HIDDEN, _VOCABULARY_KIND)
    writer.add_tensor("token_embd.weight", embedding, raw_dtype=_VOCABULARY_KIND)
    writer.add_tensor("output_norm.weight", norm)
    for layer in range(_LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", norm)
        for name, (rows, columns) in matrices.items():
            blocks = _blocks(rng, rows, columns, _KIND)
            writer.add_tensor(f"blk.{layer}.{name}.weight", blocks, raw_dtype=_KIND)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _blocks(
    rng: np.random.Generator, rows: int, columns: int, kind: gguf.GGMLQuantizationType
) -> npt.NDArray[np.uint8]:
    """Random codes under scales that are the same for all blocks, uint8 (rows, bytes of a row)."""
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * columns // weights, size), np.uint8)
    # Codes of eight bits have a deviation of 74 around 0, those of four one of 4.6 around 7.5; a group's scale and
    # minimum in Q4_K are random too, both some 32 times these.
    halves = {
        gguf.GGMLQuantizationType.Q8_0: [_DEVIATION / 74],
        gguf.GGMLQuantizationType.Q4_K: [_DEVIATION / 32 / 4.6, 7.5 * _DEVIATION / 32 / 4.6],
    }[kind]
    blocks[:, : 2 * len(halves)] = np.array(halves, np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)
