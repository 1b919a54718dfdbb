"""A model's shape as transformers' configuration, and the check that the rope is what the shape says.

transformers 5 reads the rope from `rope_parameters`. Releases before it, such as the serving image's 4.57, keep that as
an attribute without a meaning and take base 10000 without scaling: a wrong model, and nothing warns. So each is given
what it reads, and what it made of it is compared with the formula.

Imports torch and transformers, so it is imported where it is used.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import transformers
from transformers import LlamaConfig

from nemotron_build.checkpoint.shape import ModelShape, inverse_frequencies
from nemotron_build.errors import UnsupportedError

_TOLERANCE = 1e-5  # relative; float32 in another order of operations differs by 2e-7


def llama_config(shape: ModelShape, **more: Any) -> LlamaConfig:
    """The configuration of a model of this shape, in the words that the installed transformers reads.

    Args:
        shape: Sizes and constants of the checkpoint.
        more: Further fields of transformers' `LlamaConfig`.
    """
    return LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.max_position_embeddings,
        rms_norm_eps=shape.rms_norm_eps,
        tie_word_embeddings=shape.tie_word_embeddings,
        **_rope(shape),
        **more,
    )


def check_rope(model: Any, shape: ModelShape) -> None:
    """Compare the frequencies of a transformers Llama with those of its shape.

    Raises:
        UnsupportedError: transformers built another rope; all that the model computes would be wrong.
    """
    found = model.model.rotary_emb.inv_freq.float().cpu()
    expected = torch.from_numpy(inverse_frequencies(shape))
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=_TOLERANCE, atol=0):
        raise UnsupportedError(
            f"transformers {transformers.__version__} turns the checkpoint's positions by other angles than its config "
            "says (rope_theta and rope scaling). Install transformers 4.57 or 5."
        )


def _rope(shape: ModelShape) -> dict[str, Any]:
    scaling = {"rope_type": "llama3", **asdict(shape.rope_scaling)} if shape.rope_scaling else None
    if int(transformers.__version__.partition(".")[0]) < 5:
        return {"rope_theta": shape.rope_theta, "rope_scaling": scaling}
    return {"rope_parameters": {**(scaling or {"rope_type": "default"}), "rope_theta": shape.rope_theta}}
