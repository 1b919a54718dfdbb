"""Weights that lie in another place, or are not the source's, are told from FP8's rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nemotron_build.errors import VerificationError
from tests.quantize.verify.conftest import Planted

Plant = Callable[..., Planted]
LAYER, HF_LAYER = "transformer.layers.1", "model.layers.1"
HEAD_DIM = 16


def swap(tensors: dict[str, Any], first: str, second: str) -> None:
    tensors[first], tensors[second] = tensors[second], tensors[first]


def permute_rows(tensors: dict[str, Any], name: str, rows: list[int], start: int = 0) -> None:
    """Put rows of a tensor into another order, from `start` on."""
    import torch

    codes = tensors[name].view(torch.uint8)
    codes[start : start + len(rows)] = codes[start:][rows]


def test_swapped_gate_and_up(plant: Plant) -> None:
    planted = plant("trt")
    planted.edit_tensors(lambda tensors: swap(tensors, f"{LAYER}.mlp.fc.weight", f"{LAYER}.mlp.gate.weight"))
    with pytest.raises(
        VerificationError, match=rf"{LAYER}.mlp.fc.weight is not {HF_LAYER}.mlp.gate_proj.weight: \d+ values differ, "
        rf"from row 0 on; it holds {HF_LAYER}.mlp.up_proj.weight\."
    ):  # fmt: skip
        planted.verify()


def test_swapped_gate_and_up_of_a_hugging_face_checkpoint(plant: Plant) -> None:
    gate, up = (f"{HF_LAYER}.mlp.{name}_proj.weight" for name in ("gate", "up"))
    planted = plant("hf")
    planted.edit_tensors(lambda tensors: swap(tensors, gate, up))
    with pytest.raises(VerificationError, match=f"{gate} is not {gate}: .*; it holds {up}"):
        planted.verify()


def test_swapped_layers(plant: Plant) -> None:
    planted = plant("trt-bf16")
    planted.edit_tensors(
        lambda tensors: swap(tensors, "transformer.layers.0.mlp.proj.weight", f"{LAYER}.mlp.proj.weight")
    )
    with pytest.raises(
        VerificationError, match=r"is not model.layers.0.mlp.down_proj.* holds model.layers.1.mlp.down_"
    ):
        planted.verify()


def test_swapped_norms(plant: Plant) -> None:
    planted = plant("trt")
    planted.edit_tensors(
        lambda tensors: swap(tensors, f"{LAYER}.input_layernorm.weight", f"{LAYER}.post_layernorm.weight")
    )
    with pytest.raises(VerificationError, match=f"it holds {HF_LAYER}.post_attention_layernorm.weight"):
        planted.verify()


def test_a_permuted_kv_head(plant: Plant) -> None:
    # Of one rank q has 8 heads, then k has 2 and v has 2.
    rows = [*range(HEAD_DIM, 2 * HEAD_DIM), *range(HEAD_DIM)]
    planted = plant("trt-kv")
    planted.edit_tensors(
        lambda tensors: permute_rows(tensors, f"{LAYER}.attention.qkv.weight", rows, start=8 * HEAD_DIM)
    )
    with pytest.raises(
        VerificationError, match=rf"{LAYER}.attention.qkv.weight is not {HF_LAYER}.self_attn.k_proj.weight: "
        r"\d+ values differ, from row 0 of KV head 0 on; it holds row 0 of KV head 1 of it\."
    ):  # fmt: skip
        planted.verify()


def test_a_permuted_kv_head_of_a_hugging_face_checkpoint(plant: Plant) -> None:
    rows = [*range(HEAD_DIM, 2 * HEAD_DIM), *range(HEAD_DIM)]
    planted = plant("hf")
    planted.edit_tensors(lambda tensors: permute_rows(tensors, f"{HF_LAYER}.self_attn.v_proj.weight", rows))
    with pytest.raises(VerificationError, match=r"v_proj.weight: .* from row 0 of KV head 0 on; .* KV head 1 of it"):
        planted.verify()


def test_heads_in_the_interleaved_layout_of_rope(plant: Plant) -> None:
    rows = [row for pair in range(HEAD_DIM // 2) for row in (pair, pair + HEAD_DIM // 2)]
    planted = plant("hf")
    planted.edit_tensors(lambda tensors: permute_rows(tensors, f"{HF_LAYER}.self_attn.q_proj.weight", rows))
    with pytest.raises(VerificationError, match="from row 1 of head 0 on; it holds row 8 of head 0 of it"):
        planted.verify()


def test_ranks_that_changed_places(plant: Plant) -> None:
    planted = plant("trt")
    first, second = (planted.directory / f"rank{rank}.safetensors" for rank in (0, 1))
    aside = first.rename(planted.directory / "aside")
    second.rename(first)
    aside.rename(second)
    with pytest.raises(VerificationError, match=r"rank0.safetensors: \S+ is not"):
        planted.verify()


def test_one_value_that_is_a_step_off(plant: Plant) -> None:
    def change(tensors: dict[str, Any]) -> None:
        import torch

        codes = tensors[f"{HF_LAYER}.mlp.up_proj.weight"].view(torch.uint8)
        codes[5, 7] += 1 if codes[5, 7] & 0x7F < 0x70 else -1

    planted = plant("hf")
    planted.edit_tensors(change)
    with pytest.raises(VerificationError, match=r"up_proj.weight: 1 values differ, from row 5 on\."):
        planted.verify()


def test_one_bit_of_a_bf16_weight(plant: Plant) -> None:
    def change(tensors: dict[str, Any]) -> None:
        import torch

        tensors["lm_head.weight"].view(torch.int16)[3, 4] ^= 1

    planted = plant("trt-bf16")
    planted.edit_tensors(change)
    with pytest.raises(VerificationError, match=r"lm_head.weight: 1 values differ, from row 3 on\."):
        planted.verify()


def test_a_scale_of_twice_the_size(plant: Plant) -> None:
    planted = plant("trt")
    planted.edit_tensors(lambda tensors: tensors[f"{LAYER}.mlp.proj.weights_scaling_factor"].mul_(2))
    with pytest.raises(VerificationError, match=f"{LAYER}.mlp.proj.weight is not"):
        planted.verify()


def test_a_nan_among_the_weights(plant: Plant) -> None:
    def change(tensors: dict[str, Any]) -> None:
        import torch

        tensors[f"{HF_LAYER}.mlp.up_proj.weight"].view(torch.uint8)[0, 0] = 0x7F

    planted = plant("hf")
    planted.edit_tensors(change)
    with pytest.raises(VerificationError, match=r"1 values differ, from row 0 on"):
        planted.verify()
