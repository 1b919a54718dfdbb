"""Tensors that are missing, unknown, of another shape or dtype, and files that are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nemotron_build.errors import VerificationError
from tests.quantize.verify.conftest import Planted

Plant = Callable[..., Planted]


def test_a_missing_layer(plant: Plant) -> None:
    planted = plant("trt")

    def drop(tensors: dict[str, object]) -> None:
        for name in [name for name in tensors if ".layers.1." in name]:
            del tensors[name]

    planted.edit_tensors(drop, rank=1)
    with pytest.raises(
        VerificationError, match=r"rank1.safetensors lacks transformer.layers.1.\S+ and 16 more tensors"
    ):
        planted.verify()


def test_a_missing_tensor_of_a_hugging_face_checkpoint(plant: Plant) -> None:
    planted = plant("hf")
    planted.edit_tensors(lambda tensors: tensors.pop("model.layers.2.mlp.up_proj.weight"))
    with pytest.raises(VerificationError, match=r"model.safetensors lacks model.layers.2.mlp.up_proj.weight\."):
        planted.verify()


def test_a_missing_scale(plant: Plant) -> None:
    planted = plant("trt-kv")
    planted.edit_tensors(lambda tensors: tensors.pop("transformer.layers.2.attention.kv_cache_scaling_factor"))
    with pytest.raises(VerificationError, match=r"lacks transformer.layers.2.attention.kv_cache_scaling_factor\."):
        planted.verify()


def test_an_unknown_tensor(plant: Plant) -> None:
    planted = plant("hf")
    planted.edit_tensors(lambda tensors: tensors.update(other=tensors["model.norm.weight"].clone()))
    with pytest.raises(VerificationError, match="holds other, which this model does not have"):
        planted.verify()


def test_a_missing_rank(plant: Plant) -> None:
    planted = plant("trt")
    (planted.directory / "rank1.safetensors").unlink()
    with pytest.raises(VerificationError, match=r"rank1.safetensors is missing"):
        planted.verify()


def test_a_rank_too_many(plant: Plant) -> None:
    planted = plant("trt-kv")
    (planted.directory / "rank1.safetensors").write_bytes((planted.directory / "rank0.safetensors").read_bytes())
    with pytest.raises(VerificationError, match=r"rank1.safetensors belongs to no rank; tp_size is 1"):
        planted.verify()


@pytest.mark.parametrize("name", ["trt", "hf"])
def test_a_truncated_file(plant: Plant, name: str) -> None:
    planted = plant(name)
    path = max(planted.directory.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(VerificationError, match=f"{path.name} .*cut short"):
        planted.verify()


def test_a_rank_with_all_kv_heads(plant: Plant) -> None:
    planted = plant("trt")
    name = "transformer.layers.0.attention.qkv.weight"

    def widen(tensors: dict[str, object]) -> None:
        import torch

        tensors[name] = torch.zeros(128, 128).to(torch.float8_e4m3fn)

    planted.edit_tensors(widen)
    with pytest.raises(VerificationError, match=rf"{name} has the shape \[128, 128\], expected \[96, 128\]"):
        planted.verify()


def test_the_tables_of_tensorrt_llms_own_converter_are_no_fault(plant: Plant) -> None:
    """convert_checkpoint.py writes them beside the weights."""

    def add(tensors: dict[str, object]) -> None:
        import torch

        for name in ("embed_positions", "embed_positions_for_gpt_attention", "rotary_inv_freq"):
            tensors[name] = torch.ones(8)

    planted = plant("trt-bf16")
    planted.edit_tensors(add)
    assert planted.verify() is None


def test_a_weight_that_was_not_quantized(plant: Plant) -> None:
    planted = plant("hf")
    name = "model.layers.0.mlp.gate_proj.weight"

    def widen(tensors: dict[str, object]) -> None:
        import torch

        tensors[name] = torch.zeros(384, 128, dtype=torch.bfloat16)

    planted.edit_tensors(widen)
    with pytest.raises(VerificationError, match=f"{name} is BF16, expected F8_E4M3"):
        planted.verify()
