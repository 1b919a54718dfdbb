"""Llama 3.1's frequencies against transformers, and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nemotron_build.checkpoint.shape import LLAMA_31_8B
from nemotron_build.cpu.rope import inverse_frequencies


def test_llama_31_8b_as_transformers_has_it() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from nemotron_build.checkpoint.llama import llama_config

    config = llama_config(LLAMA_31_8B)
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    np.testing.assert_allclose(inverse_frequencies(LLAMA_31_8B), expected.numpy(), rtol=1e-6)


def test_fast_ones_stay_and_slow_ones_are_slowed() -> None:
    plain = inverse_frequencies(dataclasses.replace(LLAMA_31_8B, rope_scaling=None))
    scaled = inverse_frequencies(LLAMA_31_8B)
    assert plain[0] == scaled[0] == 1
    assert plain[-1] / scaled[-1] == pytest.approx(8)
    assert np.all(np.diff(scaled) < 0)
