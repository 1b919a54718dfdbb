"""Llama 3.1's frequencies against transformers, and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.cpu.rope import inverse_frequencies


def test_llama_31_8b_as_transformers_has_it() -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = transformers.LlamaConfig(
        hidden_size=4096,
        num_attention_heads=32,
        head_dim=128,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    np.testing.assert_allclose(inverse_frequencies(LLAMA_31_8B), expected.numpy(), rtol=1e-6)


def test_fast_ones_stay_and_slow_ones_are_slowed() -> None:
    plain = inverse_frequencies(dataclasses.replace(LLAMA_31_8B, rope_scaling=None))
    scaled = inverse_frequencies(LLAMA_31_8B)
    assert plain[0] == scaled[0] == 1
    assert plain[-1] / scaled[-1] == pytest.approx(8)
    assert np.all(np.diff(scaled) < 0)
