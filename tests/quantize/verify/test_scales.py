"""A scale that no layer can be computed with, or that ranks do not agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nemotron_build.errors import VerificationError
from tests.quantize.verify.conftest import Planted

QKV = "transformer.layers.1.attention.qkv"


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ("trt", f"{QKV}.weights_scaling_factor"),
        ("trt", f"{QKV}.activation_scaling_factor"),
        ("trt-kv", "transformer.layers.2.attention.kv_cache_scaling_factor"),
        ("hf", "model.layers.0.mlp.down_proj.weight_scale"),
        ("hf-kv", "model.layers.0.self_attn.v_proj.v_scale"),
    ],
)
def test_a_scale_that_is_no_positive_number(
    plant: Callable[[str], Planted], profile: str, name: str, value: float
) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name].fill_(value)

    planted = plant(profile)
    planted.edit_tensors(change)
    with pytest.raises(VerificationError, match=rf"{name} is {value}, expected a positive number"):
        planted.verify()


def test_ranks_with_different_input_scales(plant: Callable[[str], Planted]) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors[f"{QKV}.activation_scaling_factor"].mul_(2)

    planted = plant("trt")
    planted.edit_tensors(change, rank=1)
    with pytest.raises(VerificationError, match=rf"rank1\.\S+ {QKV}.activation_scaling_factor is \S+, but .* rank 0"):
        planted.verify()
