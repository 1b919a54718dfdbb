"""The tensors of a Hugging Face checkpoint, read one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from nemotron_build.checkpoint.tensors import TensorRecord, read_tensors

if TYPE_CHECKING:
    from torch import Tensor


class SourceTensors:
    """Reads tensors by name, in BF16 whatever the checkpoint's dtype is.

    Attributes:
        records: File, dtype and dimensions of each tensor.
    """

    def __init__(self, checkpoint: Path) -> None:
        """Read the headers.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        self.records: dict[str, TensorRecord] = read_tensors(checkpoint)

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        import torch

        with safe_open(self.records[name].file, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor.to(torch.bfloat16)
