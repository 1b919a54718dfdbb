"""The tensors of a Hugging Face checkpoint, read one at a time."""

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
