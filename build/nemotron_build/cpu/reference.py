"""A Llama in NumPy, for one short prompt: what the source's own weights answer, one block of rows in memory at a time.

It shares no line with the graph that OpenVINO runs, so the two agree only where both are right. They do share what the
source says of sizes, constants and frequencies: checkpoint/shape.py and gguf_shape.py read those, and the tests hold
what they read against transformers.
"""

from __future__ import annotations

import numpy as np

from nemotron_build.checkpoint.tensors import EMBEDDING, FINAL_NORM, OUTPUT
from nemotron_build.cpu.packed import Array
from nemotron_build.cpu.weight_source import WeightSource, blocks


def reference_logits(source: WeightSource, ids: Array, positions: Array) -> Array:
    """Logits of a batch of prompts, FP32 (batch, tokens, vocabulary).

    Args:
        source: The model.
        ids: (batch, tokens).
        positions: Of each token, rising, (batch, tokens).
    """
    shape = source.shape
    angles = positions[..., None].astype(np.float32) * source.inverse_frequencies
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    hidden = source.rows(EMBEDDING, ids.reshape(-1)).reshape(*ids.shape, -1)
    for number in range(shape.num_layers):
        name = f"model.layers.{number}"
        normed = _norm(source, f"{name}.input_layernorm.weight", hidden)
        hidden = hidden + _attention(source, f"{name}.self_attn", normed, cos, sin)
        normed = _norm(source, f"{name}.post_attention_layernorm.weight", hidden)
        gate = _linear(source, f"{name}.mlp.gate_proj.weight", normed, shape.intermediate_size)
        up = _linear(source, f"{name}.mlp.up_proj.weight", normed, shape.intermediate_size)
        with np.errstate(over="ignore"):  # exp(-x) of a very negative x; x / (1 + inf) is the 0 that it should be
            gated = gate / (1 + np.exp(-gate)) * up
        hidden = hidden + _linear(source, f"{name}.mlp.down_proj.weight", gated, shape.hidden_size)
    head = EMBEDDING if shape.tie_word_embeddings else OUTPUT
    return _linear(source, head, _norm(source, FINAL_NORM, hidden), shape.vocab_size)


def _attention(source: WeightSource, name: str, normed: Array, cos: Array, sin: Array) -> Array:
    shape = source.shape
    query = _heads(_linear(source, f"{name}.q_proj.weight", normed, shape.query_size), shape.num_heads)
    key = _heads(_linear(source, f"{name}.k_proj.weight", normed, shape.kv_size), shape.num_kv_heads)
    value = _heads(_linear(source, f"{name}.v_proj.weight", normed, shape.kv_size), shape.num_kv_heads)
    sharing = shape.num_heads // shape.num_kv_heads
    query, key = _rotate(query, cos, sin), _rotate(key, cos, sin).repeat(sharing, 1)
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(shape.head_dim)
    scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = (weights @ value.repeat(sharing, 1)).swapaxes(1, 2)
    merged = attended.reshape(*attended.shape[:2], shape.query_size)
    return _linear(source, f"{name}.o_proj.weight", merged, shape.hidden_size)


def _heads(projected: Array, heads: int) -> Array:
    return projected.reshape(*projected.shape[:2], heads, -1).swapaxes(1, 2)


def _rotate(heads: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(heads, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _norm(source: WeightSource, name: str, hidden: Array) -> Array:
    mean = np.square(hidden).mean(-1, keepdims=True)
    normed: Array = hidden / np.sqrt(mean + np.float32(source.shape.rms_norm_eps)) * source.vector(name)
    return normed


def _linear(source: WeightSource, name: str, hidden: Array, rows: int) -> Array:
    result = np.empty((*hidden.shape[:-1], rows), np.float32)
    for block in blocks(rows, hidden.shape[-1]):
        result[..., block] = hidden @ source.rows(name, np.arange(block.start, block.stop)).T
    return result
