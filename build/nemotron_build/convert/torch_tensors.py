"""Tensors in PyTorch as both converters take and write them: the source's in BF16, FP8 values, scales."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from nemotron_build.checkpoint.shape import ModelShape
from nemotron_build.checkpoint.tensors import TensorRecord, read_tensors
from nemotron_build.checkpoint.weights import own_tensors

if TYPE_CHECKING:
    from torch import Tensor


class SourceTensors:
    """Reads tensors by name, in BF16 whatever the checkpoint's dtype is.

    Attributes:
        records: File, dtype and dimensions of each tensor.
    """

    def __init__(self, checkpoint: Path, shape: ModelShape) -> None:
        """Read the headers.

        Raises:
            CheckpointError: a file is missing or damaged, or the tensors are not those of the shape.
        """
        self.records: dict[str, TensorRecord] = own_tensors(checkpoint, read_tensors(checkpoint), shape)

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        import torch

        with safe_open(self.records[name].file, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor.to(torch.bfloat16)


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
