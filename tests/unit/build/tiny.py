"""A tiny random checkpoint of Llama 3.1's kind, for tests that need real files rather than a real model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from nemotron_build.checkpoint.shape import read_shape
from nemotron_build.checkpoint.tensors import expected_tensors
from tests.llama3 import WORDS

Array = npt.NDArray[Any]
BEGIN_OF_TEXT = "<|begin_of_text|>"
# In Llama 3's order and with its gaps.
SPECIAL_TOKENS = (
    BEGIN_OF_TEXT, "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip
ORIGINAL_POSITIONS = 64
"""Few enough that Llama 3.1's rope scaling changes what a prompt of a hundred tokens gives."""

_SCALING_FACTOR = 8
# Standard deviation of the logits: among 512 random ones the likeliest has a third of the probability.
_LOGIT_SCALE = 3.0
# What each half of a layer adds to the embedding, as a share of it. With a fifth, FP8 weights and activations leave a
# mean KL below 0.01 and some 94 % of the choices; a wrong rope, a moved head or a swapped matrix gives a KL above 0.1.
_LAYER_SHARE = 0.2
# Queries and keys that are sharp enough for positions to matter.
_SHARPNESS = 1.5
# The size of what attention leaves after averaging values, and of SiLU(a) * b for unit a and b.
_BEFORE_OUTPUT = 0.5
_TEXT = """\
<|system detailed thinking on detailed thinking off You are a helpful assistant. You answer in one sentence.
<|user What is the capital of France? What is the weather in Bangkok today? How many letters are there in this word?
<|assistant <think> The user wants to know the answer. I should think about it first. </think> The answer is here.
There are more things in the world than anyone can count, and most of them have no name that people agree on.
When the river rises the boats are tied to the trees, and the children are told to stay away from the water.
"""


def tiny_checkpoint(
    directory: Path,
    *,
    seed: int = 0,
    shards: int = 1,
    tie: bool = False,
    rope_scaling: bool = True,
    hidden: int = 128,
    layers: int = 3,
    heads: int = 8,
    kv_heads: int = 2,
    vocab: int = 512,
) -> Path:
    """Write a random BF16 checkpoint with its tokenizer, as a Hugging Face download of Llama 3.1 looks.

    The same arguments give the same files. The logits have the spread of a trained model's.

    Args:
        directory: Made if it is not there.
        seed: Of the weights.
        shards: Safetensors files; several come with an index.
        tie: Whether the output layer is the embedding.
        rope_scaling: Whether positions are scaled as Llama 3.1's, from `ORIGINAL_POSITIONS` on.
        hidden: Hidden size; the MLP is three times as wide.
        layers: Number of layers.
        heads: Attention heads.
        kv_heads: Key and value heads.
        vocab: Tokens, at least 267.

    Returns:
        `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(vocab)
    config = _config(tokenizer, tie=tie, rope_scaling=rope_scaling)
    config |= {
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }
    write_json(directory / "config.json", config)
    write_json(directory / "generation_config.json", _generation(tokenizer))
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(directory / "tokenizer_config.json", _tokenizer_config())
    write_weights(directory, random_weights(directory, seed), shards)
    return directory


def tiny_tokenizer(vocab: int = 512) -> Tokenizer:
    """A byte-level BPE of `vocab` tokens that splits as Llama 3's does and ends with its special tokens."""
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(_TEXT.splitlines(keepends=True), trainer)
    missing = vocab - len(SPECIAL_TOKENS) - tokenizer.get_vocab_size()
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(3, 3 + missing)]
    names = [*SPECIAL_TOKENS, *reserved]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    begin = tokenizer.token_to_id(BEGIN_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A",
        pair=f"{BEGIN_OF_TEXT} $A {BEGIN_OF_TEXT} $B:1",
        special_tokens=[(BEGIN_OF_TEXT, begin)],
    )
    return tokenizer


def random_weights(directory: Path, seed: int) -> dict[str, Array]:
    """BF16 weights for the config.json in `directory`."""
    generator = np.random.default_rng(seed)
    shape = read_shape(directory)
    into_residual = _LAYER_SHARE / _BEFORE_OUTPUT * _LOGIT_SCALE / math.sqrt(shape.hidden_size)
    gains = {
        "embed_tokens": _LOGIT_SCALE,
        "lm_head": _LOGIT_SCALE,
        "q_proj": _SHARPNESS,
        "k_proj": _SHARPNESS,
        "o_proj": into_residual,
        "down_proj": into_residual,
    }
    weights: dict[str, Array] = {}
    for name, size in expected_tensors(shape).items():
        if len(size) == 1:
            values = generator.uniform(0.7, 1.3, size)
        else:
            gain = gains.get(name.split(".")[-2], 1.0)
            values = generator.standard_normal(size) * gain / math.sqrt(size[1])
        if name == "model.norm.weight":
            # Of both signs, or a model with tied embeddings would follow each token with itself.
            values *= generator.choice([-1.0, 1.0], size)
        weights[name] = values.astype(ml_dtypes.bfloat16)
    return weights


def write_weights(directory: Path, weights: dict[str, Array], shards: int = 1) -> None:
    """Write safetensors as Hugging Face names them, with an index where there are several."""
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(weights, directory / "model.safetensors", metadata)
        return
    names = list(weights)
    size = -(-len(names) // shards)
    placed: dict[str, str] = {}
    for number in range(shards):
        part = names[number * size : (number + 1) * size]
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file({name: weights[name] for name in part}, directory / file, metadata)
        placed |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in weights.values())
    write_json(directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": placed})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as Hugging Face formats it."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def _config(tokenizer: Tokenizer, *, tie: bool, rope_scaling: bool) -> dict[str, Any]:
    scaling = {
        "factor": float(_SCALING_FACTOR),
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": ORIGINAL_POSITIONS,
        "rope_type": "llama3",
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id(BEGIN_OF_TEXT),
        "eos_token_id": _stop_ids(tokenizer),
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": _SCALING_FACTOR * ORIGINAL_POSITIONS,
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": scaling if rope_scaling else None,
        "rope_theta": 500000.0,
        "tie_word_embeddings": tie,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.47.1",
        "use_cache": True,
        "vocab_size": tokenizer.get_vocab_size(),
    }


def _generation(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "_from_model_config": True,
        "bos_token_id": tokenizer.token_to_id(BEGIN_OF_TEXT),
        "eos_token_id": _stop_ids(tokenizer),
        "transformers_version": "4.47.1",
    }


def _stop_ids(tokenizer: Tokenizer) -> list[int | None]:
    return [tokenizer.token_to_id(name) for name in ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")]


def _tokenizer_config() -> dict[str, Any]:
    return {
        "bos_token": BEGIN_OF_TEXT,
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|eot_id|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": _SCALING_FACTOR * ORIGINAL_POSITIONS,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
