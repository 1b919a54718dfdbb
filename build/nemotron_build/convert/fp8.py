"""Weights as FP8 values, and scales as the tensors that go beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def to_fp8(weight: Tensor, scale: float) -> Tensor:
    """Round a weight to float8_e4m3fn: weight = FP8 value * scale.

    The division is done in float32, and its result then rounded once.
    """
    import torch

    return (weight.to(torch.float32) / scale_tensor(scale)).to(torch.float8_e4m3fn)


def scale_tensor(scale: float) -> Tensor:
    """A scale as float32 with one dimension of one value."""
    import torch

    return torch.tensor([scale], dtype=torch.float32)
